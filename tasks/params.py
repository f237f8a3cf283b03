"""params.yaml as typed values, checked whole before anything is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from tasks.adapt_params import Adapt
from tasks.adapt_scenes_params import AdaptScenes
from tasks.ask_params import AskParams
from tasks.box_params import Detection
from tasks.committee_params import CommitteeParams
from tasks.compact_depth_params import CompactDepth
from tasks.compare_params import Compare
from tasks.compress_params import Compress
from tasks.fits import check_alone, check_chain, check_networks, check_start
from tasks.keypoints_params import KeypointsParams
from tasks.knobs import STRICT, Count, Folder, Open, Pattern, Places, Seed, Share, Train
from tasks.lesson_params import LessonParams
from tasks.loops import Loop, NASStudent
from tasks.mistakes import check_changes, mistakes
from tasks.multi_params import Multitask
from tasks.proof_params import Calibrate, Evaluate, Judge, Report
from tasks.strings_params import StringsParams
from tasks.written import read
from tutelage.data.views import Views
from tutelage.models.backbone import OWN, NetworkSpec
from tutelage.train.pate import PATE
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import BadInput

LONGEST = 80  # characters of a value that an error repeats


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Where the demo's images come from."""

    __pydantic_config__ = STRICT
    dataset: Literal["fashion_mnist", "none"]  # the demo's, which is downloaded; none: only your own images
    folder: str | None = None  # where its four .gz files already lie; null: they are downloaded


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Which images there are. `labelled`, `pool` and `test` are names inside `root`."""

    __pydantic_config__ = STRICT
    root: Folder  # folder that holds the names below
    labelled: Places  # class folders, a CSV (image, label) or tar shards; of several domains {NAME: one of these}
    pool: str | None = None  # a folder of images or tar shards; null: what `split.labels_per_class` leaves over
    test: str | None = None  # like `labelled`; only judged on. null: `split.test_fraction` of the labelled images
    leaks: Literal["drop", "refuse"] = "refuse"  # what becomes of a training image that is in the test, too
    near_duplicates: Annotated[int, Field(ge=0, le=16)] = 0  # dHash bits that differ at most; 0: equal pixels only
    max_pixels: Count = 50_000_000  # of an image; one with more is refused, unread


@dataclass(frozen=True, kw_only=True)
class Split:
    """Who may see which label."""

    __pydantic_config__ = STRICT
    labels_per_class: Count | None = None  # that are kept, drawn at random; the rest joins the pool. null: all
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.25  # share of the labels kept from training; more prove more
    test_fraction: Open = 0.2  # of the labelled images, where there is no `ingest.test`
    groups: Pattern = None  # what in an image's path says what it must not be torn from: its video, its patient


@dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """What of a teacher's answers about the pool is kept."""

    __pydantic_config__ = STRICT
    top_k: Count = 10  # classes stored of each soft label
    quota: Count | None = None  # most labels of a class that are kept in a round, the surest; null: all
    rejected: Share = 0.0  # weight of the soft label of an image below its threshold or beyond its quota; 0 drops it
    views: Annotated[int, Field(ge=1, le=5)] = 1  # looks at each image whose mean is the answer
    align: bool = False  # make classes as frequent in the pool as in the labelled set before anything is kept
    shard_size: Count = 5000  # images in one file of labels
    batch: Count = 256  # images at a time; more need more memory


@dataclass(frozen=True, kw_only=True)
class Guard:
    """When a round has gone wrong. Signals are read on the hold-out and the pool, never on the test split."""

    __pydantic_config__ = STRICT
    max_empty: Share = 0.98  # share of the pool left without a label, quotas aside
    max_class_divergence: Annotated[float, Field(gt=0)] = 0.5  # Jensen-Shannon, nats, kept labels against labelled set
    max_flips: Share = 0.5  # share of pool images whose label changed since the last round
    max_drop: Share = 0.02  # hold-out accuracy that a student may lose against its teacher
    weaken: Annotated[float, Field(ge=0, lt=1)] = 0.5  # factor on the unsupervised weight after a first breach


@dataclass(frozen=True, kw_only=True)
class Round:
    """One generation: what its student starts from, learns from and is."""

    __pydantic_config__ = STRICT
    teacher: str  # folder of the model that labels the pool
    holdout: bool = False  # also learn from the hold-out; for the last round, after which nothing is calibrated
    network: dict[str, Any] = field(default_factory=dict)  # fields of `network` that this student has otherwise


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

    __pydantic_config__ = STRICT
    seed: Seed  # of all that is drawn; results repeat with it
    fetch: Fetch
    ingest: Ingest
    split: Split
    network: NetworkSpec
    views: Views
    optimiser: Optimiser
    compute: Compute
    teacher: Train  # labels the pool at first
    baseline: Train  # labels alone, for as many steps as teacher and student together: what must be beaten
    oracle: Train  # all labels, the pool's hidden ones too: the ceiling
    student: Train  # of each round: labels and pseudo-labels
    calibrate: Calibrate
    pseudo_label: PseudoLabel
    evaluate: Evaluate
    guard: Guard
    judge: Judge
    report: Report = field(default_factory=Report)
    compress: Compress
    compare: Compare = field(default_factory=Compare)
    lesson: LessonParams
    committee: CommitteeParams
    pate: PATE = field(default_factory=PATE)
    ask: AskParams = field(default_factory=AskParams)
    strings: StringsParams
    keypoints: KeypointsParams
    detection: Detection
    adapt: Adapt
    adapt_scenes: AdaptScenes
    multitask: Multitask
    compact_depth: CompactDepth
    rounds: dict[int, Round]
    last: int  # number of the last round, whose model is judged

    def __post_init__(self) -> None:
        check_chain(self.rounds, "work", self.last)
        self.compact_depth.shaped(self.multitask.network)
        for section, changes in self._changes():
            self._changed(changes, section)
        alone = {name: getattr(self, name) for name in ("teacher", "baseline", "oracle")}
        check_alone(alone)
        made = [self.resized(item.network, f"rounds.{n}.network") for n, item in self.rounds.items()]
        check_start([self.network, *made], self.student.start)
        check_networks("student", self.student.method, *made)
        for name, train in alone.items():
            check_networks(name, train.method, self.network)

    def _changes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What networks beside the rounds have otherwise than `network`, by section."""
        for name in ("compress", "compare", "lesson"):
            yield f"{name}.network", getattr(self, name).network
        for member in self.committee.members:
            yield "committee.members.network", member.network
        yield from _candidates(self.lesson.learn, "lesson.learn")
        for n, link in self.compress.chain.items():
            yield f"compress.chain.{n}.network", link.network
            yield from _candidates(link.learn, f"compress.chain.{n}.learn")

    def resized(self, changes: dict[str, Any], section: str) -> NetworkSpec:
        """`network` with some fields changed, as `section` writes them. Raises BadInput for a width without effect."""
        if problem := self._idle(changes, section):
            raise BadInput(problem)
        return self._changed(changes, section)

    def idle(self) -> Iterator[tuple[str, str]]:
        """Sections that no stage would make a network of, and why: nobody may ask for one."""
        for section, changes in self._changes():
            if problem := self._idle(changes, section):
                yield section, problem

    def _idle(self, changes: dict[str, Any], section: str) -> str:
        made = self._changed(changes, section)
        if "width" not in changes or made.name in OWN:
            return ""
        return (
            f"{section} writes width {made.width}, but {made.name} has a width of its own, so the network would stay "
            "as it is. Write {name: ...}, another of timm's, or a width with a small_resnet"
        )

    def _changed(self, changes: dict[str, Any], section: str) -> NetworkSpec:
        check_changes(self.network, changes, section)
        return replace(self.network, **changes)


def _candidates(learn: Loop | None, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for changes in learn.networks if isinstance(learn, NASStudent) else ():
        yield f"{section}.networks", changes


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. Raises BadInput with every problem, one a line."""
    try:
        written = read(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run from the repository's root.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error}. Save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}") from error
    if bare := list(_bare_numbers(written)):
        raise BadInput(f'{path}: {", ".join(bare)}: DVC makes no stage of a number. Write it in quotes, as "1": ...')
    problems = dict(mistakes(Params, written))
    try:
        params = _checker().validate_python(written)
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "params"
            problems.setdefault(where, _explain(where, problem))
    if problems:
        raise BadInput(f"{path} has {len(problems)} problem(s):\n" + "\n".join(f"  {x}" for x in problems.values()))
    return params


@cache
def _checker() -> TypeAdapter[Params]:
    """Made once: that takes longer than to check a file."""
    return TypeAdapter(Params)


def _bare_numbers(written: Any, above: str = "") -> Iterator[str]:
    """Dotted names of entries whose key is no word."""
    for key, inner in written.items() if isinstance(written, dict) else ():
        if not isinstance(key, str):
            yield f"{above}{key}"
        yield from _bare_numbers(inner, f"{above}{key}.")


def _explain(where: str, problem: Any) -> str:
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where} is missing"
    said, value = problem["msg"].removeprefix("Value error, "), problem["input"]
    if problem["type"] == "dataclass_type":
        said = "it is a section. Write its entries below it, a name and a value each, as the params.yaml in Git does"
    if problem["type"] == "value_error" and isinstance(value, dict | list):
        return f"{where}: {said}"  # our own words name the entry of the section
    written = repr(value)
    return f"{where} is {written if len(written) <= LONGEST else f'{written[:LONGEST]} ...'}: {said}"
