import json
import shutil

import pytest
from own_images import class_folders, params, save

from tasks import ingest as stage
from tasks.ingest import ingest
from tutelage.data.manifest import classes_of, read_manifest, roots_of
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    return class_folders(tmp_path / "images")


def run(root, out="work", **wanted):
    """The manifest as rows, and the report."""
    folder = ingest(root, params=params(**wanted), out=root.parent / out)
    return read_manifest(folder), json.loads((folder / "report.json").read_text())


def ids(report, part):
    return {row["id"]: row["reason"] for row in report[part]}


def test_files_hold_what_the_contract_says(root):
    save(root / "pool/mon/1.png", 77)
    (root / "pool/broken.png").write_bytes((root / "pool/mon/1.png").read_bytes()[:60])
    table, report = run(root, pool="pool", test="test")
    assert report == {
        "images": {"labelled": 16, "pool": 1, "test": 6},
        "labelled": {"cat": 8, "dog": 8},
        "domains": {},
        "refused": [{"id": "pool/broken.png", "reason": "truncated", "detail": report["refused"][0]["detail"]}],
        "dropped": [],
        "leaks": [],
    }
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    assert classes_of(table) == ["cat", "dog"]
    assert roots_of(table) == {name: f"{root}/{folder}" for name, folder in
                               (("labelled", "train"), ("pool", "pool"), ("test", "test"))}  # fmt: skip
    row = next(row for row in table.to_pylist() if row["id"] == "pool/mon/1.png")
    assert (row["source"], row["path"], row["offset"], row["width"], row["height"]) == ("pool", "mon/1.png", 0, 16, 16)
    assert (row["label"], row["label_source"], row["domain"], row["tasks"]) == (None, "", "", [])
    assert row["length"] == (root / "pool/mon/1.png").stat().st_size
    text = (root.parent / "work/report.md").read_text()
    assert "16 labelled, 1 pool, 6 test" in text
    assert "pool/broken.png | truncated" in text


def test_two_runs_are_equal_whatever_the_order_of_files(root):
    save(root / "train/cat/copy.png", 1000)  # contradicts dog/00
    run(root, "one", test="test")
    other = root.parent / "other"
    for path in sorted(root.rglob("*.png"), reverse=True):  # created in another order
        (other / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.relative_to(root))
    shutil.rmtree(root)
    other.rename(root)
    run(root, "two", test="test")
    for name in ("manifest.parquet", "report.json", "report.md"):
        assert (root.parent / "one" / name).read_bytes() == (root.parent / "two" / name).read_bytes()


def test_a_csv_and_folders_give_the_same_images(root):
    lines = [f"{path.relative_to(root)},{path.parent.name}" for path in (root / "train").rglob("*.png")]
    (root / "labels.csv").write_text("image,label\n" + "\n".join(lines))
    from_folders, _ = run(root, "one")
    from_csv, report = run(root, "two", labelled="labels.csv")
    for column in ("sha256", "pixels", "dhash", "label", "width"):
        assert from_csv[column].to_pylist() == from_folders[column].to_pylist()
    assert from_csv["id"].to_pylist()[0] == "labelled/train/cat/00.png"
    assert roots_of(from_csv) == {"labelled": str(root)}
    assert report["images"] == {"labelled": 16}


def test_what_comes_in_while_images_are_read_is_taken_in(root, monkeypatch):
    read, calls = stage.examined, []
    half = save(root / "train/cat/half.png", 5000)
    whole = half.read_bytes()
    half.write_bytes(whole[:60])

    def slow(scans, *given, **named):
        answers = read(scans, *given, **named)
        calls.append(sum(len(scan.found) for scan in scans))
        if len(calls) == 1:
            save(root / "train/cat/late.png", 5001)
            half.write_bytes(whole)
        elif len(calls) == 2:
            save(root / "test/dog/later.png", 5002)
        return answers

    monkeypatch.setattr(stage, "examined", slow)
    table, report = run(root, test="test")
    assert calls == [16 + 1 + 6, 2, 1]
    assert (report["images"], report["refused"]) == ({"labelled": 18, "test": 7}, [])
    assert len(set(table["id"].to_pylist())) == 25


def test_where_images_never_stop_to_come_it_ends_with_those_that_it_has_read(root, monkeypatch, capsys):
    read, calls = stage.examined, []

    def slow(*given, **named):
        calls.append(save(root / f"train/cat/late{len(calls)}.png", 5000 + len(calls)))
        return read(*given, **named)

    monkeypatch.setattr(stage, "examined", slow)
    _, report = run(root)
    assert len(calls) == stage.LOOKS
    assert report["images"] == {"labelled": 16 + stage.LOOKS - 1}
    assert f"images keep coming into {root}: the next run takes in" in capsys.readouterr().out


def test_leaks_are_dropped_or_told(root):
    shutil.copy(root / "test/cat/00.png", root / "train/cat/leak.png")
    _, dropped = run(root, "one", test="test", leaks="drop")
    assert ids(dropped, "dropped") == {"labelled/cat/leak.png": "leak"}
    assert dropped["images"]["labelled"] == 16
    table, told = run(root, "two", test="test", leaks="refuse")
    assert told["leaks"] == [{"id": "labelled/cat/leak.png", "other": "test/cat/00.png", "kind": "bytes"}]
    assert told["dropped"] == []
    assert "labelled/cat/leak.png" in table["id"].to_pylist()


def test_near_duplicates_are_found_when_asked_for(root):
    save(root / "pool/again.jpg", 3, quality=90)  # train/cat/03 saved as JPEG
    assert run(root, "one", pool="pool")[1]["images"]["pool"] == 1
    _, report = run(root, "two", pool="pool", near_duplicates=6)
    assert ids(report, "dropped") == {"pool/again.jpg": "duplicate"}


def test_what_cannot_be_used_is_refused_and_nothing_else(root):
    secret = save(root.parent / "secret.png", 5)
    (root / "train/cat/link.png").symlink_to(secret)
    (root / "train/cat/page.png").write_text("<html>")
    (root / "train/cat/empty.png").write_bytes(b"")
    _, report = run(root, max_pixels=256)
    assert ids(report, "refused") == {
        "labelled/cat/link.png": "outside_root", "labelled/cat/page.png": "not_an_image",
        "labelled/cat/empty.png": "truncated",
    }  # fmt: skip
    assert report["images"] == {"labelled": 16}
    assert set(ids(run(root, "two", max_pixels=255)[1], "refused").values()) >= {"too_large"}


def test_an_empty_pool_is_no_error(root):
    (root / "pool").mkdir()
    assert run(root, pool="pool")[1]["images"] == {"labelled": 16, "pool": 0}


def test_bad_input_writes_nothing(root):
    with pytest.raises(BadInput, match=r"ingest\.pool is 'pol'"):
        run(root, pool="pol")
    assert not (root.parent / "work").exists()
