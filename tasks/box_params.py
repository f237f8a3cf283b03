"""The section `detection` of params.yaml as typed values."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.fits import check_alone, check_chain, check_start
from tasks.knobs import (
    STRICT,
    Count,
    Files,
    Folder,
    Folders,
    Open,
    Pattern,
    Share,
    Train,
    check_limits,
    parse_detection_method,
)
from tasks.mistakes import check_changes
from tasks.proof_params import Report
from tutelage.data.orientations import Orientation
from tutelage.data.scene_views import SceneViews
from tutelage.data.views import Views
from tutelage.methods.detection.method import DetectionMethod
from tutelage.models.backbone import NetworkSpec
from tutelage.models.detectors import DetectorSpec
from tutelage.train.settings import Optimiser


@dataclass(frozen=True, kw_only=True)
class Compose:
    """How many scenes, how large, and what is in them."""

    __pydantic_config__ = STRICT
    size: Annotated[int, Field(ge=32, le=1024)] = 96  # pixels
    labelled: Count = 60  # scenes with boxes
    pool: Count = 1500  # scenes whose boxes are hidden
    test: Count = 300  # scenes to judge on
    target_pool: Count = 300  # scenes of the target (adapt_scenes), by night or in fog
    target_test: Count = 150  # scenes of the target to judge on
    objects: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (1, 6)  # a scene: fewest, most
    scales: tuple[float, float] = (0.2, 0.55)  # a garment's side in sides of the scene: smallest, largest
    kinds: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None  # categories, and which garments are of
    # each; null: every garment is a category

    def __post_init__(self) -> None:
        if not self.objects[0] <= self.objects[1]:
            raise ValueError(f"objects is {list(self.objects)}: write the fewest first, then the most")
        if not 0.05 <= self.scales[0] <= self.scales[1] <= 1:
            raise ValueError(f"scales is {list(self.scales)}: write the smallest first, both within 0.05 and 1")


@dataclass(frozen=True, kw_only=True)
class ScenesIngest:
    """Which images there are. All names are inside `root`.

    `labelled` and `test` are COCO JSON files, one or more; `pool` is a folder, tars, or a COCO JSON whose objects are
    hidden from training. A JSON's file names are relative to `..._images`, or else to its own folder.
    """

    __pydantic_config__ = STRICT
    root: Folder  # folder that holds the names below
    labelled: Files  # COCO JSON; [cars.json, people.json]: several, each marked for its own categories
    labelled_images: Folders = None  # folder of its images; null: that of the JSON; a list: one for each JSON
    pool: str | None = None  # folder, tar shards, or COCO JSON whose objects are hidden; null: what split.images leaves
    pool_images: str | None = None  # as labelled_images
    test: Files | None = None  # COCO JSON, or several as labelled; null: a share of the labelled images
    test_images: Folders = None  # as labelled_images
    leaks: Literal["drop", "refuse"] = "refuse"  # what becomes of a training image that is in the test, too
    near_duplicates: Annotated[int, Field(ge=0, le=16)] = 0  # dHash bits that differ at most; 0: equal pixels only
    max_pixels: Count = 50_000_000  # of an image; one with more is refused, unread


@dataclass(frozen=True, kw_only=True)
class ScenesSplit:
    """Who may see which objects. Roles are drawn image by image."""

    __pydantic_config__ = STRICT
    images: Count | None = None  # labelled images that keep their objects; the rest joins the pool
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.25  # share of them that is not trained on
    test_fraction: Open = 0.2  # of the labelled images, where there is no test JSON
    groups: Pattern = None  # as split.groups


@dataclass(frozen=True, kw_only=True)
class TrainDetector:
    """One training run: how long, on how much at a time, by which method."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Count  # labelled scenes a step
    pool_batch: Annotated[int, Field(ge=0)] = 0  # scenes of the pool a step, where the method looks at them; 0: none
    method: Annotated[DetectionMethod, BeforeValidator(parse_detection_method)]
    start: Literal["teacher", "scratch"] = "scratch"  # weights that a student begins with


@dataclass(frozen=True, kw_only=True)
class CalibrateBoxes:
    """What a pseudo-box must promise before it is kept."""

    __pydantic_config__ = STRICT
    rule: Literal["precision", "mixture", "count", "stac"] = "precision"  # a target on the hold-out; two Gaussians; as
    # many boxes an image as in the labelled set (DUG); `tau`, and of an image without a box so sure its surest (STAC)
    target_precision: Open = 0.8  # at IoU 0.5
    confidence: Open = 0.9  # of the Clopper-Pearson lower bound
    floor: Share = 0.3  # of the rules precision and mixture: no threshold below it
    cap: Share = 0.95  # threshold without evidence; one proven, or above a mistake of the hold-out, may be higher
    tau: Share = 0.9  # of the rule stac
    probe: Annotated[int, Field(ge=0)] = 500  # pool images that the expected yield is read from

    def __post_init__(self) -> None:
        check_limits(self.floor, self.cap)


@dataclass(frozen=True, kw_only=True)
class LabelBoxes:
    """How the pool is labelled."""

    __pydantic_config__ = STRICT
    shard_size: Count = 1000  # images in one file of boxes
    batch: Count = 32  # images at a time; more need more memory
    orientations: bool = False  # look at an image in each way that detection.views allows (flip: 2, turn: 4, both: 8),
    # and fuse the boxes; else as it is


@dataclass(frozen=True, kw_only=True)
class Names:
    """A classifier of single objects, cut out of the scenes, that names the pool's boxes anew."""

    __pydantic_config__ = STRICT
    margin: Annotated[float, Field(ge=0, le=1)] = 0.1  # around a box, of its longer side
    network: NetworkSpec
    views: Views
    optimiser: Optimiser
    train: Train  # on crops of labelled scenes and of the pool's boxes


@dataclass(frozen=True, kw_only=True)
class EvaluateBoxes:
    """How a detector is measured."""

    __pydantic_config__ = STRICT
    max_detections: Count = 100  # an image
    batch: Count = 32  # images at a time


@dataclass(frozen=True, kw_only=True)
class GuardBoxes:
    """When a round has gone wrong. Signals are read on the hold-out and the pool, never on the test split."""

    __pydantic_config__ = STRICT
    max_empty: Share = 0.98  # share of the pool's images left without a box
    max_class_divergence: Annotated[float, Field(gt=0)] = 0.5  # Jensen-Shannon, nats, kept boxes against labelled ones
    boxes: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (0.02, 2.0)  # kept boxes an image of
    # the pool, in labelled boxes a labelled image: fewest, most
    max_flips: Share = 0.8  # share of kept boxes of two rounds that only one of them has
    max_drop: Share = 0.02  # AP50 on the hold-out that a student may lose against its teacher
    weaken: Annotated[float, Field(ge=0, lt=1)] = 0.5  # factor on the unsupervised weight after a first breach

    def __post_init__(self) -> None:
        if self.boxes[0] >= self.boxes[1]:
            raise ValueError(f"boxes is {list(self.boxes)}: write the fewest first, then the most")


@dataclass(frozen=True, kw_only=True)
class FuseBoxes:
    """All detectors of the rounds as one, by weighted box fusion (DUG)."""

    __pydantic_config__ = STRICT
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None  # of the first teacher and what each round's guard
    # let pass; the authors, for two rounds: 0.9, 1.0, 1.4; null: nothing is fused
    iou: Open = 0.6  # boxes of a class that overlap more become one


@dataclass(frozen=True, kw_only=True)
class JudgeBoxes:
    """What a detector must show on the frozen test split."""

    __pydantic_config__ = STRICT
    margin: Share = 0.0  # AP that the lower end of the interval against production may lack; 0.01 is one point
    class_margin: Share = 0.1  # AP50 that a class or a slice may lose
    latency_ratio: Annotated[float, Field(gt=0)] = 1.5  # times the champion's time for an image, and its parameters
    resamples: Count = 1000  # 200 a class show how far chance reaches; the judge's time grows with them
    slices: Pattern = None  # as judge.slices


@dataclass(frozen=True, kw_only=True)
class CompressBoxes:
    """From a detector to a narrower one, and what that must show before it takes its teacher's place."""

    __pydantic_config__ = STRICT
    teacher: Folder  # folder of a detector
    network: dict[str, Any]  # fields of detection.network that the compact detector has otherwise
    student: TrainDetector  # the compact network, taught by `teacher`
    baseline: TrainDetector  # the same network from boxes alone
    smaller: Annotated[float, Field(ge=1)] = 2.0  # times fewer parameters
    faster: Annotated[float, Field(ge=1)] = 1.0  # times less time
    max_loss: Share = 0.02  # AP that the lower end of the interval may lack; 0.01 is one point


@dataclass(frozen=True, kw_only=True)
class BoxRound:
    """One generation of detectors."""

    __pydantic_config__ = STRICT
    teacher: str  # folder of the model that labels the pool
    holdout: bool = False  # also learn from the hold-out; for the last round, after which nothing is calibrated
    boxes: Literal["teacher", "agreed", "fused"] = "teacher"  # whose: the teacher's; those that the first teacher finds
    # too; those of both, fused, of which one that a single one finds keeps its chance (DUG)
    easiest: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the pool learned from, its surest images (DUG)
    network: dict[str, Any] = field(default_factory=dict)  # fields of detection.network that this student has otherwise


@dataclass(frozen=True, kw_only=True)
class Detection:
    """All of `detection`."""

    __pydantic_config__ = STRICT
    compose: Compose = field(default_factory=Compose)
    ingest: ScenesIngest
    split: ScenesSplit
    network: DetectorSpec
    views: SceneViews
    optimiser: Optimiser
    teacher: TrainDetector  # labels the pool at first
    baseline: TrainDetector  # boxes alone, for as many steps as teacher and student together: what must be beaten
    oracle: TrainDetector | None = None  # of the pool's hidden boxes too; null: none is trained
    student: TrainDetector  # of each round: boxes and pseudo-boxes
    calibrate: CalibrateBoxes
    label: LabelBoxes
    names: Names | None = None  # null: a box keeps the class that the detector gives it
    evaluate: EvaluateBoxes
    guard: GuardBoxes = field(default_factory=GuardBoxes)
    fuse: FuseBoxes = field(default_factory=FuseBoxes)
    judge: JudgeBoxes
    report: Report = field(default_factory=Report)
    compress: CompressBoxes
    rounds: dict[int, BoxRound]
    last: int  # number of the last round, whose detector is judged

    @property
    def ways(self) -> list[Orientation]:
        """In which the teacher of a round looks at an image of the pool."""
        return self.views.ways if self.label.orientations else [Orientation()]

    def seen_by(self, network: DetectorSpec, **changes: Any) -> "Detection":
        """The same for another network, which may answer fewer boxes."""
        most = min(self.evaluate.max_detections, network.max_detections)
        return replace(self, network=network, evaluate=replace(self.evaluate, max_detections=most), **changes)

    def __post_init__(self) -> None:
        self._check_rounds()
        alone = {name: getattr(self, name) for name in ("teacher", "baseline", "oracle")}
        check_alone(alone | {"compress.baseline": self.compress.baseline})
        if self.label.orientations and len(self.views.ways) == 1:
            raise ValueError(
                "label.orientations is true, but views allow one way only: set their flip or turn, or leave it"
            )
        if self.fuse.weights is not None and len(self.fuse.weights) != self.last + 1:
            raise ValueError(
                f"fuse.weights has {len(self.fuse.weights)} numbers for a teacher and {self.last} round(s)"
            )
        check_changes(self.network, self.compress.network, "compress.network")
        self._check_most()
        self._check_mosaics()

    def _check_most(self) -> None:
        """More boxes than a detector answers cannot be counted."""
        networks = {"network": {}, "compress.network": self.compress.network}
        networks |= {f"rounds.{n}.network": item.network for n, item in self.rounds.items()}
        wanted = self.evaluate.max_detections
        for section, changes in networks.items():
            if (most := changes.get("max_detections", self.network.max_detections)) < wanted:
                raise ValueError(
                    f"evaluate.max_detections is {wanted}, but {section} answers {most} at most. Write "
                    f"{section}.max_detections: {wanted}, or lower the other"
                )

    def _check_mosaics(self) -> None:
        """The quarters of a mosaic are images at half their size."""
        taught = [("student", self.student, one.network) for one in self.rounds.values()]
        for section, run, changes in [*taught, ("compress.student", self.compress.student, self.compress.network)]:
            mix, size = getattr(run.method, "mix", "none"), changes.get("image_size", self.network.image_size)
            if mix in ("mosaic", "both") and size % 2:
                raise ValueError(
                    f"{section}.method.mix is {mix!r}, which halves images, but its network's image_size is {size}: "
                    "write an even one, or mix: mixup"
                )

    def _check_rounds(self) -> None:
        check_chain(self.rounds, "work/detection", self.last)
        if self.rounds[1].boxes != "teacher":
            raise ValueError(f"rounds.1.boxes is {self.rounds[1].boxes!r}, but the first round has one teacher only")
        for n, item in self.rounds.items():
            check_changes(self.network, item.network, f"rounds.{n}.network")
        made = [replace(self.network, **item.network) for item in self.rounds.values()]
        check_start([self.network, *made], self.student.start)
