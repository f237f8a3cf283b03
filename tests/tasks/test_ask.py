"""The page that people label images from, and which images are on it."""

import csv
import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from small_work import CLASSES, contents, make_split, new_network, save, small_params, train

from tasks.__main__ import main
from tasks.ask import ask
from tasks.ask_params import AskParams
from tasks.calibrate import calibrate
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import describe, read_split, write_split
from tutelage.types import BadInput


def wanted(**settings):
    return replace(small_params(), ask=AskParams(**settings))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A split whose pool is a source of its own, and a model."""
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path)
    as_pool(split, lambda name: f"pool/{name}")
    return split, save(tmp_path / "model", train(new_network(1), split, 3))


def as_pool(split, rename):
    """Give the images of the pool ids of that source."""
    table = read_split(split)
    rows = table.to_pylist()
    for row in rows:
        if row["role"] == "pool":
            row["source"], row["id"] = "pool", rename(row["path"])
    rows.sort(key=lambda row: row["id"])
    folder = str(split.parent.parent / "images")
    table = pa.Table.from_pylist(rows, table.schema)
    write_split(split, describe(table, roots={"labelled": folder, "pool": folder}, classes=CLASSES))


def margins(split, model, rules=None):
    """Of the pool, by id, in another way than `ask` goes."""
    from scipy.special import softmax

    from tutelage.models.files import load_model

    table, (network, card) = read_split(split), load_model(model / "model.safetensors")
    images, found = Images.open(table, card.image_size), {}
    with torch.inference_mode():
        for row in rows_of(table, "pool"):
            seen = torch.from_numpy(images[int(row)]).permute(2, 0, 1)[None].float() / 255
            soft = softmax(network(seen).logits[0].numpy().astype(float) / (rules or {"temperature": 1})["temperature"])
            low, high = np.sort(soft)[-2:]
            found[table["id"][int(row)].as_py()] = high - low
    return found


def sheet(out):
    return list(csv.DictReader((out / "ask.csv").read_text("utf-8-sig").splitlines()))


def test_the_least_decided_are_asked_about_in_their_order(world, tmp_path):
    split, model = world
    out = ask(split, model, params=wanted(images=7, among=1), out=tmp_path / "ask")
    gaps = margins(split, model)
    assert [row["id"] for row in sheet(out)] == sorted(gaps, key=lambda name: gaps[name])[:7]
    assert [row["image"] for row in sheet(out)] == [f"images/{n:04d}.png" for n in range(1, 8)]
    assert {row["label"] for row in sheet(out)} == {""}


def test_copies_have_the_bytes_of_the_images(world, tmp_path):
    split, model = world
    out = ask(split, model, params=wanted(images=5), out=tmp_path / "ask")
    told = json.loads((out / "asked.json").read_text())
    for row in sheet(out):
        data = (out / row["image"]).read_bytes()
        assert data == (tmp_path / "images" / row["id"].removeprefix("pool/")).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert told["images"][row["image"]] == {"id": row["id"], "sha256": digest, "domain": ""}
    assert told["classes"] == CLASSES


def test_a_name_ends_as_the_bytes_want_it(world, tmp_path):
    split, model = world
    table = read_split(split)
    place = int(rows_of(table, "pool")[0])
    name = table["path"][place].as_py()  # called .png
    data = cv2.imencode(".jpg", cv2.imread(str(tmp_path / "images" / name)))[1].tobytes()
    (tmp_path / "images" / name).write_bytes(data)
    rows = table.to_pylist()
    rows[place] |= {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}
    write_split(split, pa.Table.from_pylist(rows, table.schema))
    out = ask(split, model, params=wanted(images=60), out=tmp_path / "ask")
    assert [row["image"][-4:] for row in sheet(out) if row["id"] == f"pool/{name}"] == [".jpg"]


def test_near_copies_are_asked_about_once(world, tmp_path):
    split, model = world
    gaps = margins(split, model)
    first, *others = sorted(gaps, key=lambda name: gaps[name])[:4]
    table = read_split(split)
    rows, by_id = table.to_pylist(), {name: n for n, name in enumerate(table["id"].to_pylist())}
    pixels = cv2.imread(str(tmp_path / "images" / first.removeprefix("pool/")))
    for number, name in enumerate(others):
        near = pixels.copy()
        near[0, number] += 1
        data = cv2.imencode(".png", near)[1].tobytes()
        (tmp_path / "images" / name.removeprefix("pool/")).write_bytes(data)
        rows[by_id[name]] |= {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}
    write_split(split, pa.Table.from_pylist(rows, table.schema))
    same = {first, *others}
    found = {}
    for among in (1, 5):
        out = ask(split, model, params=wanted(images=4, among=among), out=tmp_path / "ask")
        found[among] = len(same & {row["id"] for row in sheet(out)})
    assert found == {1: 4, 5: 1}


def test_a_group_is_asked_about_once_while_there_are_others(world, tmp_path):
    split, model = world
    as_pool(split, lambda name: f"pool/video{int(name[5:8]) // 10}/{name}")  # six of ten images
    params = replace(wanted(images=6), split=replace(small_params().split, groups="video([0-9])"))
    out = ask(split, model, params=params, out=tmp_path / "ask")
    assert sorted(row["id"].split("/")[1] for row in sheet(out)) == [f"video{n}" for n in range(6)]
    gaps = margins(split, model)
    least = {min((name for name in gaps if f"video{n}/" in name), key=lambda name: gaps[name]) for n in range(6)}
    assert {row["id"] for row in sheet(out)} == least
    more = ask(split, model, params=replace(params, ask=AskParams(images=9)), out=tmp_path / "ask")
    assert len(sheet(more)) == 9


def test_scores_are_calibrated_where_there_is_a_calibration(world, tmp_path):
    split, model = world
    params = wanted(images=60)
    params = replace(params, pseudo_label=replace(params.pseudo_label, align=False))
    rules = calibrate(split, model, params=params, out=tmp_path / "rules")
    plain = sheet(ask(split, model, params=params, out=tmp_path / "plain"))
    told = sheet(ask(split, model, rules, params=params, out=tmp_path / "told"))
    temperature = json.loads((rules / "calibration.json").read_text())
    gaps = margins(split, model, temperature)
    assert [row["id"] for row in told] == sorted(gaps, key=lambda name: gaps[name])
    assert temperature["temperature"] != 1
    assert sum(float(row["confidence"]) for row in told) != sum(float(row["confidence"]) for row in plain)
    other = save(tmp_path / "other", new_network(2))
    with pytest.raises(BadInput, match="was made for another model"):
        ask(split, other, rules, params=params, out=tmp_path / "x")
    with pytest.raises(BadInput, match=r"model/calibration\.json does not exist, so .*model is no calibration"):
        ask(split, model, model, params=params, out=tmp_path / "x")


def test_chance_is_the_seeds(world, tmp_path):
    split, model = world
    params = wanted(images=8, by="random")
    one = contents(ask(split, model, params=params, out=tmp_path / "one"))
    assert contents(ask(split, model, params=params, out=tmp_path / "two")) == one
    other = sheet(ask(split, model, params=replace(params, seed=1), out=tmp_path / "three"))
    assert {row["id"] for row in other} != {row["id"] for row in sheet(tmp_path / "one")}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_beside_it_and_names_are_escaped(world, tmp_path):
    split, model = world
    out = ask(split, model, params=wanted(images=6), out=tmp_path / "ask")
    page = Page((out / "ask.html").read_text())
    assert len(page.addresses) == 6
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"sky", "script", "link"} & set(page.tags)  # a class is called "blue <sky>"
    said = " ".join(page.text)
    assert all(f"{row['guess']} {row['confidence']}" in said.replace("\N{NO-BREAK SPACE}", " ") for row in sheet(out))


def test_a_page_that_people_have_worked_on_is_not_written_over(world, tmp_path):
    split, model = world
    out = ask(split, model, params=wanted(images=3), out=tmp_path / "ask")
    ask(split, model, params=wanted(images=4), out=out)  # nobody has
    filled = (out / "ask.csv").read_text().replace(",,", ",green|grass,", 1)
    (out / "ask.csv").write_text(filled)
    with pytest.raises(BadInput, match=r"somebody has worked on .*ask\.csv.* `python -m tasks answer"):
        ask(split, model, params=wanted(images=4), out=out)
    assert (out / "ask.csv").read_text() == filled


def test_hidden_labels_are_told(tmp_path, capsys):
    split = make_split(tmp_path)
    ask(split, save(tmp_path / "model", new_network(1)), params=wanted(images=3), out=tmp_path / "ask")
    assert "split.labels_per_class hides their labels. Ask nobody" in capsys.readouterr().out


def test_without_a_pool_there_is_nothing_to_ask_about(tmp_path):
    split = make_split(tmp_path, {"labelled": 6, "holdout": 3, "pool": 0, "test": 6})
    with pytest.raises(BadInput, match="no pool, so there is nothing to ask about"):
        ask(split, save(tmp_path / "model", new_network(1)), params=wanted(), out=tmp_path / "ask")


def test_the_command_line_knows_both(capsys):
    assert main(["ask", "--help"]) == 0
    assert "python -m tasks ask SPLIT MODEL [CALIBRATION] OUT" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["answer", "--help"])
    assert "--new CLASS" in capsys.readouterr().out
