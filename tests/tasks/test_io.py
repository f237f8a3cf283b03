import os

import pytest

from tasks.io import whole, write_json


def test_an_output_appears_whole(tmp_path):
    out = tmp_path / "a" / "out"
    with whole(out) as folder:
        (folder / "x").write_text("1")
        assert not out.exists()
    assert (out / "x").read_text() == "1"


def write_half(out):
    with whole(out) as folder:
        (folder / "x").write_text("new")
        (folder / "no folder" / "y").write_text("new")


def test_a_failure_leaves_the_last_output(tmp_path):
    out = tmp_path / "out"
    with whole(out) as folder:
        (folder / "x").write_text("old")
    with pytest.raises(FileNotFoundError):
        write_half(out)
    assert (out / "x").read_text() == "old"
    with whole(out) as folder:
        assert list(folder.iterdir()) == []  # nothing of the failed attempt


def test_killed_between_its_two_renames_it_loses_nothing(tmp_path, monkeypatch):
    out, rename, calls = tmp_path / "out", os.replace, []
    with whole(out) as folder:
        (folder / "x").write_text("old")
    monkeypatch.setattr(
        os, "replace", lambda *paths: calls.append(paths) or (rename(*paths) if len(calls) < 2 else 1 / 0)
    )
    with pytest.raises(ZeroDivisionError), whole(out) as folder:
        (folder / "x").write_text("new")
    assert not out.exists()
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        write_half(out)
    assert (out / "x").read_text() == "old"
    with whole(out) as folder:
        (folder / "x").write_text("new")
    assert (out / "x").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_json_has_no_order_and_no_nan(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c", float("nan"))
