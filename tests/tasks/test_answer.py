"""What people have answered comes back as labels: into folders, a CSV or shards, and through ingest and split."""

import csv
import hashlib
import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from at_once import beside
from data.pictures import shard
from own_images import class_folders, params, save
from small_work import contents

import tasks.answer_places
from tasks.__main__ import main
from tasks.answer import answer
from tasks.answer_places import own_name
from tasks.ask import ask
from tasks.ask_params import AskParams
from tasks.ingest import ingest
from tasks.split import split
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import save_model
from tutelage.train.settings import Compute
from tutelage.types import BadInput

SPEC = NetworkSpec(name="small_resnet", width=4, image_size=12)


class World:
    """Images of cats and dogs and a pool, as a user has them, and a model that asks about four of the pool."""

    def __init__(self, root, **ingested):
        self.root, self.work = root, root.parent
        wanted = params(**{"pool": "pool", "test": "test"} | ingested)
        self.params = replace(
            wanted, ingest=replace(wanted.ingest, root=str(root)), ask=AskParams(images=4), network=SPEC,
            compute=Compute(threads=1, workers=0, precision="fp32", device="cpu"),
        )  # fmt: skip
        self.out = self.work / "ask"

    def split(self):
        """Rows of the split by their id."""
        ingested = ingest(self.root, params=self.params, out=self.work / "ingest")
        self.table = read_split(split(ingested, params=self.params, out=self.work / "split"))
        return {row["id"]: row for row in self.table.to_pylist()}

    def ask(self):
        self.split()
        classes = classes_of(self.table)
        (self.work / "model").mkdir(exist_ok=True)
        save_model(self.work / "model/model.safetensors", create(SPEC, len(classes)), classes=classes, method="")
        ask(self.work / "split", self.work / "model", params=self.params, out=self.out)
        return self

    def rows(self):
        return list(csv.DictReader((self.out / "ask.csv").read_text("utf-8-sig").splitlines()))

    def fill(self, *labels, **style):
        """Labels of the images from the first on, saved as `style` wants it."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), delimiter=style.get("delimiter", ","))
        writer.writeheader()
        for row, label in zip(rows, [*labels, *[""] * len(rows)], strict=False):
            writer.writerow(row | {"label": label})
        (self.out / "ask.csv").write_bytes(text.getvalue().encode(style.get("encoding", "utf-8")))
        return [row["id"] for row in rows]

    def answer(self, **more):
        return answer(self.out, params=self.params, **more)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pool(root):
    for place in range(6):
        save(root / f"pool/video{place // 2}/shot.{place}.{'jpg' if place % 2 else 'png'}", 5000 + place)


@pytest.fixture
def world(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    return World(root).ask()


def test_an_answered_image_is_labelled_in_the_next_split_and_no_longer_of_the_pool(world):
    before = world.split()
    ids = world.fill("cat", "dog", "", "skip")
    said = world.answer()
    assert said[0] == f"2 image(s) added to {world.root}/train: cat 1, dog 1"
    assert said[1] == "0 were there already; left out: 1 without a label, 1 called skip"
    after = world.split()
    assert {name for name in before if name not in after} == set(ids[:2])
    new = {name: row for name, row in after.items() if name not in before}
    assert sorted((name.split("/")[1], classes_of(world.table)[row["label"]]) for name, row in new.items()) == [
        ("cat", "cat"), ("dog", "dog")
    ]  # fmt: skip
    assert {row["sha256"] for row in new.values()} == {before[name]["sha256"] for name in ids[:2]}
    assert {row["role"] for row in new.values()} <= {"labelled", "holdout"}
    assert {after[name]["role"] for name in ids[2:]} == {"pool"}
    assert {name.split("/")[2] for name in new} == {name.split("/")[1] for name in ids[:2]}  # the video it is of


def test_an_image_with_the_longest_of_names_is_taken_in(tmp_path):
    """Of 249 bytes, and of eighty letters of three: a part of the hash no longer fits behind either."""
    root = class_folders(tmp_path / "mine")
    for place, stem in enumerate(("x" * 245, "\u732b" * 80)):
        save(root / f"pool/{stem}.jpg", 5000 + place)
    world = World(root).ask()
    world.fill("cat", "cat")
    assert world.answer()[0] == f"2 image(s) added to {root}/train: cat 2"
    added = [path.name for path in (root / "train/cat").glob("*.jpg")]
    assert sorted(name[:2] for name in added) == ["xx", "\u732b" * 2]
    assert all(252 < len(name.encode()) <= 255 for name in added)


def test_the_same_answers_again_add_nothing(world):
    world.fill("cat", "dog")
    world.answer()
    before = contents(world.root)
    said = world.answer()
    assert said == [f"0 image(s) added to {world.root}/train", "2 were there already; left out: 2 without a label, "
                    "0 called skip"]  # fmt: skip
    assert contents(world.root) == before
    world.fill("cat", "dog", "dog")
    assert world.answer()[0].startswith("1 image(s) added")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("catt",), r"ask\.csv, line 2: 'catt' is no class\. Did you mean 'cat'\?.* --new 'catt'"),
        (("DOG",), r"'DOG' is no class\. Did you mean 'dog'\?"),
        (("cat", "cow"), r"line 3: 'cow' is no class; there are: cat, dog\. --new 'cow' makes it a class on purpose"),
    ],
)
def test_a_label_that_is_no_class_is_told_with_its_line_and_nothing_is_added(world, labels, words):
    before = contents(world.root)
    world.fill(*labels)
    with pytest.raises(BadInput, match=words):
        world.answer()
    assert contents(world.root) == before


def test_a_class_that_was_renamed_since_the_question_is_none_any_more(world):
    (world.root / "train/cat").rename(world.root / "train/kitten")
    before = contents(world.root)
    world.fill("cat")
    with pytest.raises(BadInput, match="'cat' is no class; there are: dog, kitten"):
        world.answer()
    assert contents(world.root) == before


def test_a_new_class_is_one_on_purpose(world):
    world.fill("cow")
    assert "New: cow. Models that were made before do not know it; dvc repro trains all again" in world.answer(
        new=["cow"]
    )
    world.split()
    assert classes_of(world.table) == ["cat", "cow", "dog"]
    world.fill("cow", "cow")
    assert world.answer()[0].endswith("cow 1")  # by now it is one


@pytest.mark.parametrize("name", ["../cow", ".cow", "a/b"])
def test_a_class_that_cannot_be_a_folder_is_refused(world, name):
    before = contents(world.work)
    world.fill(name)
    with pytest.raises(BadInput, match="cannot be a folder"):
        world.answer(new=[name])
    assert contents(world.root) == {
        key.removeprefix("mine/"): data for key, data in before.items() if key.startswith("mine/")
    }


def test_an_answer_that_was_another_before_is_told(world):
    world.fill("cat")
    world.answer()
    world.fill("dog")
    with pytest.raises(BadInput, match=r"0001\.\w+ is 'dog', and was answered before as 'cat' \(labelled/cat/video"):
        world.answer()


def test_lines_that_are_not_of_this_page_are_told(world):
    world.fill("cat", "dog")
    text = (world.out / "ask.csv").read_text()
    (world.out / "ask.csv").write_text(
        text.replace("images/0002", "../0002") + text.splitlines()[1].replace(",cat,", ",dog,")
    )
    with pytest.raises(BadInput) as told:
        world.answer()
    assert "2 problem(s), so nothing was added" in str(told.value)
    assert "line 3: ../0002" in str(told.value)
    assert "is 'dog' here and 'cat' in line 2. Decide for one" in str(told.value)


def test_the_sheet_of_another_question_is_told(world):
    world.fill("cat")
    path = world.out / "ask.csv"
    path.write_text(path.read_text().replace("pool/video", "pool/film"))
    with pytest.raises(
        BadInput, match=r"line 2: images/0001\.\w+ is pool/video\S+ here, and the line is about pool/film"
    ):
        world.answer()


def test_images_without_a_line_are_counted_and_paths_may_be_of_windows(world):
    world.fill("cat", "skip", "dog")
    path = world.out / "ask.csv"
    lines = path.read_text().replace("images/", "images\\").splitlines()
    path.write_text("\n".join([*lines[:3], lines[1].replace(",cat,", ",skip,")]))  # of two people who looked at one
    said = world.answer()
    assert said[0].endswith("cat 1")
    assert said[1] == "0 were there already; left out: 2 without a label, 1 called skip"


def test_an_image_that_was_exchanged_is_told(world):
    world.fill("cat")
    first = world.out / world.rows()[0]["image"]
    first.write_bytes((world.out / world.rows()[1]["image"]).read_bytes())
    with pytest.raises(BadInput, match="is not the image that was asked about"):
        world.answer()


@pytest.mark.parametrize(
    "style", [{"delimiter": ";", "encoding": "utf-16"}, {"delimiter": "\t", "encoding": "utf-8-sig"}]
)
def test_what_spreadsheets_save_is_read(world, style):
    world.fill("cat", "dog", **style)
    assert world.answer()[0].startswith("2 image(s) added")


def test_what_goes_wrong_on_the_way_leaves_nothing(world, monkeypatch):
    world.fill("cat", "dog", "cow")
    before, moved = contents(world.root), []

    def full(source, target):
        if len(moved) == 2:
            raise OSError(28, "No space left on device", str(source), None, str(target))
        moved.append(target)
        os.rename(source, target)

    monkeypatch.setattr(tasks.answer_places.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        world.answer(new=["cow"])
    assert contents(world.root) == before
    assert sorted(os.listdir(world.root / "train")) == ["cat", "dog"]  # an empty folder would be a class
    monkeypatch.undo()
    assert world.answer(new=["cow"])[0].startswith("3 image(s) added")


def test_a_space_that_nobody_sees_makes_no_second_class(world):
    (world.root / "train/cat").rename(world.root / "train/cat ")
    ids = world.fill("cat")
    assert world.answer()[0].endswith("cat 1")
    assert sorted(os.listdir(world.root / "train")) == ["cat ", "dog"]
    assert ids[0] not in world.split()
    assert classes_of(world.table) == ["cat", "dog"]


def test_a_full_disk_is_told_by_the_place_that_was_to_be_written(world, monkeypatch, capsys):
    world.fill("cat")

    def full(source, target):
        raise OSError(28, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(tasks.answer_places.shutil, "copyfile", full)
    monkeypatch.setattr("tasks.params.load", lambda: world.params)
    assert main(["answer", str(world.out)]) == 1
    said = f"answer: No space left on device: {world.root}/train/.tutelage.part/0\nNothing was written.\n"
    assert capsys.readouterr().err == said


def test_a_budget_of_labels_and_a_test_of_the_same_images_are_told(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    world = World(root, test=None, split={"labels_per_class": 6}).ask()
    world.fill("cat")
    said = world.answer()
    assert any(
        "split.labels_per_class is 6: of a class that has more images the answers may lose" in line for line in said
    )
    assert any("a share of 0.2 (split.test_fraction) becomes the test" in line for line in said)


def table_of(root, encoding="utf-8", text=None):
    """train.csv beside the images instead of class folders."""
    files = sorted((root / "train").rglob("*.png"))
    lines = [f"{path.relative_to(root).as_posix()};{path.parent.name};x" for path in files]
    text = "\r\n".join(["Image;LABEL;note", *lines])  # no end of its last line
    (root / "train.csv").write_bytes(text.encode(encoding))


def asked_of_a_table(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    table_of(root)
    return World(root, labelled="train.csv").ask()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_a_table_gets_rows_as_its_own_and_copies_beside_it(tmp_path, encoding):
    root = class_folders(tmp_path / "mine")
    pool(root)
    table_of(root, encoding)
    world = World(root, labelled="train.csv").ask()
    ids = world.fill("cat", "dog")
    before = (root / "train.csv").read_bytes().decode(encoding)
    world.answer()
    after = (root / "train.csv").read_bytes().decode(encoding)
    assert after.startswith(before + "\r\n")
    names = [line.split(";") for line in after.removeprefix(before).split("\r\n")[1:-1]]
    assert [label for _, label, note in names if note == ""] == ["cat", "dog"]
    rows = world.split()
    assert all(rows[f"labelled/{name}"]["role"] in ("labelled", "holdout") for name, *_ in names)
    assert not set(ids[:2]) & set(rows)
    world.answer()
    assert (root / "train.csv").read_bytes().decode(encoding) == after


def test_no_file_is_written_over(tmp_path):
    world = asked_of_a_table(tmp_path)
    root = world.root
    (name, *_), row = world.fill("cat"), world.rows()[0]
    digest = world.split()[name]["sha256"]
    theirs = root / "asked" / own_name(name, digest, os.path.splitext(row["image"])[1])
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"of somebody else")
    before = contents(root)
    with pytest.raises(BadInput, match="is there with other bytes and is not written over"):
        world.answer()
    assert contents(root) == before


def test_a_link_to_a_table_stays_one_and_names_are_relative_to_it(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    table_of(root)
    (root / "kept").mkdir()
    (root / "train.csv").rename(root / "kept/1.csv")
    (root / "train.csv").symlink_to("kept/1.csv")
    world = World(root, labelled="train.csv").ask()
    ids = world.fill("cat")
    world.answer()
    assert (root / "train.csv").is_symlink()
    rows = world.split()
    assert ids[0] not in rows
    assert len([name for name in rows if name.startswith("labelled/asked/")]) == 1


def test_of_two_who_answer_at_once_both_are_heard(tmp_path, monkeypatch):
    world = asked_of_a_table(tmp_path)
    root = world.root
    world.fill("", "dog")
    other = Path(shutil.copytree(world.out, tmp_path / "other"))
    world.fill("cat", "")
    before = (root / "train.csv").read_text().splitlines()
    ends = beside(monkeypatch, tasks.answer_places, lambda: answer(other, params=world.params))
    world.answer()
    ends()
    added = (root / "train.csv").read_text().splitlines()[len(before) :]
    assert [line.split(";")[1] for line in added] == ["cat", "dog"]
    assert all((root / line.split(";")[0]).exists() for line in added)
    assert not (root / ".tutelage.part").exists()


def test_rows_that_a_kill_kept_from_the_table_come_with_the_next_call(tmp_path, monkeypatch):
    world = asked_of_a_table(tmp_path)
    root = world.root
    world.fill("cat", "dog")
    before = (root / "train.csv").read_bytes()
    monkeypatch.setattr(tasks.answer_places, "write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        world.answer()
    assert (root / "train.csv").read_bytes() == before
    assert len(list((root / "asked").rglob("*.*"))) == 2
    monkeypatch.undo()
    assert world.answer()[0].startswith("2 image(s) added")
    assert len((root / "train.csv").read_bytes().splitlines()) == len(before.splitlines()) + 2


def shards_of(root, classes="cat\ndog"):
    """Shards in train/ instead of class folders."""
    members = {}
    for path in sorted((root / "train").rglob("*.png")):
        members |= {
            f"{path.parent.name}{path.name}": path.read_bytes(),
            f"{path.parent.name}{path.stem}.cls": path.parent.name,
        }
        path.unlink()
    for folder in ("cat", "dog"):
        (root / "train" / folder).rmdir()
    shard(root / "train/shard-0.tar", members)
    if classes:
        (root / "train/classes.txt").write_text(classes)


@pytest.mark.parametrize("classes", ["cat\ndog", ""])
def test_shards_become_one_more(tmp_path, classes):
    root = class_folders(tmp_path / "mine")
    pool(root)
    shards_of(root, classes)
    world = World(root).ask()
    ids = world.fill("cat", "cow")
    world.answer(new=["cow"])
    assert len(list((root / "train").glob("*.tar"))) == 2
    if classes:
        assert (root / "train/classes.txt").read_text() == "cat\ndog\ncow\n"
    rows = world.split()
    assert classes_of(world.table) == ["cat", "cow", "dog"]
    new = [row for name, row in rows.items() if name.startswith("labelled/asked-")]
    assert sorted(classes_of(world.table)[row["label"]] for row in new) == ["cat", "cow"]
    assert not set(ids[:2]) & set(rows)
    before = contents(root)
    world.answer()
    assert contents(root) == before


def test_a_pool_of_shards_is_asked_and_answered(tmp_path):
    root = class_folders(tmp_path / "mine")
    images = {f"a/{n}.png": save(tmp_path / f"{n}.png", 6000 + n).read_bytes() for n in range(5)}
    shard(root / "pool/shard-0.tar", images)
    world = World(root).ask()
    ids = world.fill("cat", "dog")
    assert all((world.out / row["image"]).read_bytes() in images.values() for row in world.rows())
    world.answer()
    rows = world.split()
    assert not set(ids[:2]) & set(rows)
    assert len([name for name in rows if "/shard-0.tar/a/" in name and name.startswith("labelled/")]) == 2
    world.fill("cat", "dog", "cat")
    assert world.answer()[0].startswith("1 image(s) added")  # a folder that is called as a shard is none
    assert len([name for name in world.split() if "/shard-0.tar/a/" in name and name.startswith("labelled/")]) == 3


def test_one_shard_is_told_where_to_lie(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    shards_of(root)
    world = World(root, labelled="train/shard-0.tar").ask()
    world.fill("cat")
    with pytest.raises(BadInput, match="is one shard, beside which no other is read"):
        world.answer()


def test_of_several_domains_one_is_named(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    (root / "night").mkdir()
    save(root / "night/dog/9.png", 7000)
    world = World(root, labelled={"day": "train", "night": "night"}).ask()
    world.fill("cat")  # a class of the other domain
    with pytest.raises(BadInput, match="the domains day, night, and which the answers belong to is not said"):
        world.answer()
    assert world.answer(domain="night")[0] == f"1 image(s) added to {root}/night: cat 1"
    assert [row["domain"] for row in world.split().values() if "shot" in row["id"] and row["source"] == "labelled"] == [
        "night"
    ]


def of_days(root):
    """train.csv with a column `domain`; a pool in a CSV, whose domains are known but for that of its last image."""
    files = sorted((root / "train").rglob("*.png"))
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name},{'day' if n % 2 else 'night'}"
            for n, path in enumerate(files)]  # fmt: skip
    (root / "train.csv").write_text("\n".join(["image,label,domain", *rows, ""]))
    shots = [path.relative_to(root).as_posix() for path in sorted((root / "pool").rglob("shot.*"))]
    (root / "pool.csv").write_text("\n".join(["image,domain", *[f"{name},dusk" for name in shots[:-1]], shots[-1]]))
    return shots


def test_an_answer_in_a_table_has_the_domain_of_its_image_or_the_one_that_is_said(tmp_path):
    root = class_folders(tmp_path / "mine")
    pool(root)
    shots = of_days(root)
    world = World(root, labelled="train.csv", pool="pool.csv")
    world.params = replace(world.params, ask=AskParams(images=6))
    ids = world.ask().fill("cat", "cat", "cat", "cat", "cat", "cat")
    with pytest.raises(BadInput, match="has the domains day, night, and which the answers belong to is not said"):
        world.answer()
    with pytest.raises(BadInput, match="'dawn' is none of them"):
        world.answer(domain="dawn")
    world.answer(domain="night")
    added = [row for row in world.split().values() if "shot" in row["id"]]
    assert sorted(row["domain"] for row in added) == ["dusk"] * 5 + ["night"]
    assert [row["sha256"] for row in added if row["domain"] == "night"] == [sha256(root / shots[-1])]
    assert len(ids) == 6


def test_where_nothing_has_a_domain_none_is_taken(world):
    world.fill("cat")
    with pytest.raises(BadInput, match=r"is one place, train, without domains\. Leave 'night' out"):
        world.answer(domain="night")


def test_labels_that_were_only_hidden_cannot_be_answered(tmp_path):
    world = World(class_folders(tmp_path / "mine"), pool=None, split={"labels_per_class": 2}).ask()
    world.fill("cat")
    with pytest.raises(BadInput, match=r"is labelled already, and its label hidden by split\.labels_per_class"):
        world.answer()


def test_the_command_line(world, tmp_path, monkeypatch, pytestconfig, capsys):
    monkeypatch.chdir(tmp_path)
    text = (pytestconfig.rootpath / "params.yaml").read_text()
    text = text.replace("root: data/fetched", f"root: {world.root}").replace("  pool: null", "  pool: pool", 1)
    Path("params.yaml").write_text(text)
    world.fill("cow")
    assert main(["answer", "ask"]) == 2
    assert "'cow' is no class" in capsys.readouterr().err
    assert main(["answer", "ask", "--new", "cow"]) == 0
    assert "split.labels_per_class is 40" in capsys.readouterr().out
    assert main(["answer", "nowhere"]) == 2
    assert "is no folder that `python -m tasks ask` wrote" in capsys.readouterr().err


def test_a_shard_is_read_by_its_own_names(tmp_path):
    """Keys of WebDataset end at the first dot, and shots of the pool have one more."""
    root = class_folders(tmp_path / "mine")
    pool(root)
    shards_of(root)
    world = World(root).ask()
    world.fill("cat")
    world.answer()
    (path,) = (root / "train").glob("asked-*.tar")
    with tarfile.open(path) as tar:
        image, label = tar.getnames()
    assert os.path.splitext(image)[0] == os.path.splitext(label)[0]
    assert image.count(".") == label.count(".") == 1
