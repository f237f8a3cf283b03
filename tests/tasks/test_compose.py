import json
import shutil

import cv2
import numpy as np
import pytest
from fresh import fresh
from pycocotools.coco import COCO
from pydantic import TypeAdapter, ValidationError
from scene_work import detection
from small_work import contents

from tasks import compose as module
from tasks.box_params import Compose
from tasks.compose import compose
from tasks.compose_domains import compose_domains
from tasks.domains import domains
from tutelage.data import masks
from tutelage.types import BadInput

SMALL = {"size": 48, "labelled": 3, "pool": 4, "test": 3, "target_pool": 4, "target_test": 2}


def test_without_the_demos_images_there_is_a_word_why_and_flows_go_on(tmp_path):
    (tmp_path / "fetched").mkdir()
    with pytest.raises(BadInput, match="no garments to compose"):
        compose(tmp_path / "fetched", params=detection(compose=SMALL), out=tmp_path / "wardrobe")
    (tmp_path / "fetched/README.md").write_text("Nothing was fetched")
    for make in (compose, compose_domains, domains):
        out = make(tmp_path / "fetched", params=detection(compose=SMALL), out=tmp_path / "made")
        assert [path.name for path in out.iterdir()] == ["README.md"]
        assert "fetch.dataset is none" in (out / "README.md").read_text()


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Two classes; garments to train on are 12 pixels wide, those of the test 20."""
    root = tmp_path_factory.mktemp("fetched")
    for name, side in (("train", 12), ("test", 20)):
        for label in ("bag", "coat"):
            (root / name / label).mkdir(parents=True)
            for number in range(5):
                picture = np.zeros((28, 28), np.uint8)
                picture[4 : 4 + side, 4 : 4 + side] = 100 + 30 * number
                cv2.imwrite(str(root / name / label / f"{number}.png"), picture)
    return root


@pytest.fixture(scope="module")
def composed(fetched, tmp_path_factory):
    return compose(fetched, params=detection(compose=SMALL), out=tmp_path_factory.mktemp("composed") / "out")


@pytest.fixture(scope="module")
def abroad(fetched, tmp_path_factory):
    return compose_domains(fetched, params=detection(compose=SMALL), out=tmp_path_factory.mktemp("abroad") / "out")


def test_pycocotools_opens_every_set(composed, abroad):
    for name, number in (("labelled", 3), ("pool", 4), ("test", 3), ("target/pool", 4), ("target/test", 2)):
        made = abroad if "target" in name else composed
        coco = COCO(made / f"{name}.json")
        assert len(coco.imgs) == number
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["bag", "coat"]
        domains = [image["domain"] for image in coco.imgs.values()]
        assert domains == (["night", "fog"] * 2)[:number] if "target" in name else [""] * number
        for image in coco.imgs.values():
            folder = (made / name).parent
            pixels = cv2.imread(str(folder / image["file_name"]))
            depth = cv2.imread(str(folder / image["depth"]), cv2.IMREAD_UNCHANGED)
            assert (pixels.shape, depth.shape, depth.dtype) == ((48, 48, 3), (48, 48), np.uint16)
            assert 1 <= len(coco.getAnnIds(imgIds=image["id"])) <= 6


def test_boxes_and_areas_are_those_of_the_masks(composed):
    for annotation in json.loads((composed / "pool.json").read_text())["annotations"]:
        mask = masks.decode(annotation["segmentation"]["counts"], 48, 48)
        y, x = np.nonzero(mask)
        assert annotation["bbox"] == [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
        assert annotation["area"] == mask.sum()
        assert annotation["iscrowd"] == 0


def test_the_source_of_the_adaptation_is_the_pool_of_the_detection(composed, abroad):
    here, there = contents(composed), contents(abroad)
    assert {name: there[name] for name in there if "target" not in name} == {
        name: here[name] for name in here if "pool" in name
    }


def everything(fetched, out, **changes):
    """All scenes there are: of both demos in one folder."""
    for make in (compose, compose_domains):
        made = make(fetched, params=detection(**changes), out=out.parent / make.__name__)
        shutil.copytree(made, out, dirs_exist_ok=True)
    return contents(out)


def test_a_scene_depends_on_its_number_and_the_seed_alone(fetched, composed, abroad, tmp_path):
    first = contents(composed) | contents(abroad)
    more = {"labelled": 2, "pool": 6, "test": 3, "target_pool": 4, "target_test": 2}
    second = everything(fetched, tmp_path / "more/all", compose=SMALL | more)
    common = [name for name in second if name in first and not name.endswith(".json")]
    assert len(common) == 2 * (2 + 4 + 3 + 4 + 2)
    assert all(first[name] == second[name] for name in common)
    assert first["test.json"] == second["test.json"]
    third = everything(fetched, tmp_path / "seed/all", seed=1, compose=SMALL)
    assert all(first[name] != third[name] for name in first)
    assert len(set(first.values())) == len(first)  # no two sets share a scene


def by_processes(fetched, out):
    module.MANY = 1
    return compose(fetched, params=detection(compose=SMALL), out=out)


def test_by_several_processes_it_is_the_same_bytes(fetched, composed, tmp_path):
    assert contents(fresh(by_processes, fetched, tmp_path / "again")) == contents(composed)


def test_garments_of_the_test_are_seen_nowhere_else(fetched, tmp_path, monkeypatch):
    widths = []

    def seen(garments, *args, **options):
        widths.append({round(float(garment.outline.sum()) ** 0.5) for garment in garments})
        return real(garments, *args, **options)

    real = module.compose_scene
    monkeypatch.setattr(module, "compose_scene", seen)
    compose(fetched, params=detection(compose=SMALL), out=tmp_path / "out")
    train, test = {frozenset({12})}, {frozenset({20})}
    parts = [widths[:3], widths[3:7], widths[7:10]]
    assert [set(map(frozenset, part)) for part in parts] == [train, train, test]
    widths.clear()
    compose_domains(fetched, params=detection(compose=SMALL), out=tmp_path / "abroad")
    parts = [widths[:4], widths[4:8], widths[8:]]
    assert [set(map(frozenset, part)) for part in parts] == [train, train, test]


def test_scenes_may_be_empty(fetched, tmp_path):
    out = compose(fetched, params=detection(compose=SMALL | {"objects": (0, 0)}), out=tmp_path / "out")
    content = json.loads((out / "pool.json").read_text())
    assert len(content["images"]) == 4
    assert content["annotations"] == []


def test_without_garments_it_says_what_to_do(tmp_path):
    with pytest.raises(BadInput, match=r"fetch\.dataset: fashion_mnist"):
        compose(tmp_path, params=detection(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wanted", "fragment"),
    [
        ({"objects": [4, 2]}, "objects is"), ({"scales": [0.5, 0.2]}, "scales is"), ({"scales": [0.5, 2]}, "scales is"),
        ({"size": 8}, "greater than or equal to 32"), ({"pol": 3}, "pol"), ({"objects": [-1, 2]}, "objects"),
    ],
)  # fmt: skip
def test_impossible_wishes_are_refused(wanted, fragment):
    assert TypeAdapter(Compose).validate_python({"objects": [0, 3], "scales": [0.1, 0.9]}).objects == (0, 3)
    with pytest.raises((ValidationError, ValueError), match=fragment):
        TypeAdapter(Compose).validate_python(wanted)


def test_garments_of_one_kind_are_one_category(fetched, composed, tmp_path):
    made = compose(fetched, params=detection(compose=SMALL | {"kinds": {"all": ["coat", "bag"]}}), out=tmp_path / "out")
    found, apart = (json.loads((folder / "pool.json").read_text()) for folder in (made, composed))
    assert [category["name"] for category in found["categories"]] == ["all"]
    assert {annotation["category_id"] for annotation in apart["annotations"]} == {1, 2}
    for mine, theirs in zip(found["annotations"], apart["annotations"], strict=True):  # the scenes are the same
        assert mine == theirs | {"category_id": 1}


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({"a": ["bag"]}, "'coat' 0 times"),
        ({"a": ["bag", "coat"], "b": ["bag"]}, "'bag' 2 times"),
        ({"a": ["bag", "coat", "scarf"]}, "'scarf' 1 times"),
    ],
)
def test_a_garment_is_of_one_kind(fetched, tmp_path, kinds, told):
    with pytest.raises(BadInput, match=told):
        compose(fetched, params=detection(compose=SMALL | {"kinds": kinds}), out=tmp_path / "out")
