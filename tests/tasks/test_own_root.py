"""Images lie where DVC deletes nothing: it removes what a stage writes before that stage runs."""

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from own_images import save

from tasks.__main__ import main
from tasks.graph import stages
from tasks.init import init
from tutelage.types import BadInput

PARAMS = Path("params.yaml")


@pytest.fixture
def checkout(tmp_path, monkeypatch, pytestconfig):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(pytestconfig.rootpath / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(old, new):
    text = PARAMS.read_text()
    assert text.count(old) == 1
    PARAMS.write_text(text.replace(old, new))


@pytest.mark.parametrize("root", ["data/fetched", "data/fetched/mine", "data", ".", "work/detection/wardrobe", "work"])
def test_init_takes_no_folder_that_dvc_would_empty(checkout, root):
    for place, name in enumerate(("cat", "dog")):
        save(Path(root) / "train" / name / "0.png", place)
    before = PARAMS.read_text()
    for given in (Path(root), checkout / root):
        with pytest.raises(BadInput, match=r"FOLDER is .*, but stage \w+ writes .* deletes .*Put your images into"):
            init(given)
    assert PARAMS.read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("root: data/fetched", "root: .", "ingest.root is ., but stage fetch writes data/fetched"),
        ("root: data/fetched", "root: work/split", "ingest.root is work/split, but stage split writes work/split"),
        ("root: work/detection/wardrobe", "root: work", "detection.ingest.root is work, but stage "),
        (
            "root: work/adapt/domains",
            "root: reports/mine",
            "adapt.ingest.root is reports/mine, but stage report writes",
        ),
        ("root: work/adapt_scenes/scenes", "root: work/ask/..", "adapt_scenes.ingest.root is work/ask/.., but stage "),
    ],
)
def test_check_takes_none_either(checkout, capsys, old, new, said):
    change(old, new)
    assert main(["check"]) == 2
    assert said in capsys.readouterr().err


def test_what_the_demo_makes_may_be_read(checkout, capsys):
    save(Path("data/fetched/train/cat/0.png"))
    assert main(["check"]) == 0
    change("root: data/fetched", "root: data/fetched/train")
    assert main(["check"]) == 0
    change("dataset: fashion_mnist", "dataset: none")
    assert main(["check"]) == 2
    assert "stage fetch writes data/fetched, and DVC deletes all that lies there" in capsys.readouterr().err


def test_who_fetches_nothing_and_has_images_for_boxes_alone_may_leave_ingest_as_it_is(checkout):
    change("dataset: fashion_mnist", "dataset: none")
    change("root: work/detection/wardrobe", "root: scenes")
    Path("data/fetched").mkdir(parents=True)
    Path("data/fetched/README.md").touch()
    assert main(["check"]) == 0


def test_check_reads_the_dag_once_for_all_roots(checkout):
    with patch("tasks.graph.stages", wraps=stages) as reading:
        assert main(["check"]) == 0
    assert reading.call_count == 1
