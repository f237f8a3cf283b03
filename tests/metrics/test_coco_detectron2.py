import json
import warnings

import pytest
import torch
from scenes_found import CLASSES, guesses, nothing_found, random_scenes

from tutelage.metrics.coco import score

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of torch.jit.script on import
    pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed: docs/detection.md says how")
    from detectron2.evaluation import COCOEvaluator

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes as Rows
from detectron2.structures import Instances

SIDE = 512


@pytest.fixture
def theirs(tmp_path, request):
    """What detectron2's own evaluator says, through the file and the register that it wants."""
    names = []

    def evaluate(given, found, *, fast):
        corners = [
            (image, place, label, area, crowd)
            for image, scene in enumerate(given)
            for place, label, crowd, area in zip(*(column.tolist() for column in scene), strict=True)
        ]
        name = f"{request.node.name}-{len(names)}"
        names.append(name)
        path = tmp_path / f"{len(names)}.json"
        truth = {
            "images": [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(len(given))],
            "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(CLASSES)],
            "annotations": [
                {
                    "id": number, "image_id": image, "category_id": 10 + label, "area": area, "iscrowd": int(crowd),
                    "bbox": [place[0], place[1], place[2] - place[0], place[3] - place[1]],
                }
                for number, (image, place, label, area, crowd) in enumerate(corners, start=1)
            ],
        }  # fmt: skip
        path.write_text(json.dumps(truth))
        register_coco_instances(name, {}, str(path), str(tmp_path))
        DatasetCatalog.get(name)  # the evaluator knows the categories only after the file was read
        evaluator = COCOEvaluator(name, ("bbox",), distributed=False, use_fast_impl=fast)
        evaluator.reset()
        for image, one in enumerate(found):
            said = Instances((SIDE, SIDE))
            said.pred_boxes, said.scores = Rows(torch.from_numpy(one.places)), torch.from_numpy(one.scores)
            said.pred_classes = torch.from_numpy(one.labels)
            evaluator.process([{"image_id": image}], [{"instances": said}])
        return evaluator.evaluate()["bbox"]

    yield evaluate
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("fast", [False, True], ids=["pycocotools", "fast"])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_evaluators_say_the_same_of_the_same_boxes(theirs, seed, fast):
    scenes = random_scenes(seed, images=40)
    found = guesses(scenes, seed + 100)
    found[3] = nothing_found()
    expected, mine = theirs(scenes, found, fast=fast), score(scenes, found, CLASSES)
    assert 0.1 < mine.ap < 0.9
    numbers = {"AP": mine.ap, "AP50": mine.ap50, "AP75": mine.ap75}
    numbers |= {f"AP{name[0]}": value for name, value in mine.by_size.items()}
    numbers |= {f"AP-{name}": one.ap for name, one in mine.per_class.items()}
    assert {name: 100 * value for name, value in numbers.items()} == pytest.approx(expected, abs=1e-6)
