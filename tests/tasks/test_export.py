import json
import os
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import yaml
from project import ROOT
from small_work import CLASSES, SPEC, contents, make_split, new_network, save, small_params, train

import tasks.export
from tasks.answers import ask
from tasks.export import export
from tasks.io import check_out
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.models.export import FILES, Session
from tutelage.models.files import load_model
from tutelage.train.predict import predict
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    model = save(folder / "model", train(new_network(3), split, 5))
    out = export(split, model, params=small_params(), out=folder / "export")
    return {"split": split, "model": model, "out": out}


def test_every_precision_is_measured_on_the_test_split(world):
    about = json.loads((world["out"] / "export.json").read_text())
    table = read_split(world["split"])
    network, card = load_model(world["model"] / "model.safetensors")
    truth = ask(table, network, card, compute=small_params().compute, batch=32)
    assert about["classes"] == CLASSES
    assert (about["model"], about["parameters"]) == (card.sha256, card.parameters)
    assert list(about["variants"]) == sorted(FILES)
    for name, variant in about["variants"].items():
        path = world["out"] / variant["file"]
        assert (path.name, path.stat().st_size) == (FILES[name], variant["bytes"])
        assert abs(variant["accuracy"] - truth.right.mean()) < 0.1
    assert about["variants"]["fp32"]["accuracy"] == truth.right.mean() > 0.5
    assert about["variants"]["fp32"]["max_difference"] <= 1e-4
    assert 0 < about["variants"]["fp16"]["max_difference"] < about["variants"]["int8"]["max_difference"]
    assert about["variants"]["int8"]["accuracy"] > 0.5
    assert "| fp16 | model.fp16.onnx |" in (world["out"] / "report.md").read_text()


def test_the_file_takes_any_number_of_images(world):
    session = Session(world["out"] / "model.onnx", threads=1)
    one, many = (session(np.zeros((n, 3, 12, 12), np.float32)) for n in (1, 7))
    np.testing.assert_allclose(many, np.repeat(one, 7, 0), atol=1e-5)


def test_images_reach_the_file_as_they_reach_the_network(world):
    """Rows, columns and colours in their places, in chunks that do not divide the number of images."""
    table = read_split(world["split"])
    network, card = load_model(world["model"] / "model.safetensors")
    rows, images = np.arange(0, 50, 2), Images.open(table, card.image_size)
    expected = predict(network, images, rows, compute=small_params().compute, batch=4)
    said = tasks.export._ask(Session(world["out"] / "model.onnx", threads=1), images, rows, 7)
    np.testing.assert_allclose(said, expected, atol=1e-4)
    assert np.ptp(expected, 0).min() > 1e-3


def test_what_the_clock_said_is_in_a_file_of_its_own(world, tmp_path):
    again = export(world["split"], world["model"], params=small_params(), out=tmp_path / "again")
    first, second = contents(world["out"]), contents(again)
    told = json.loads(first.pop("latency.json"))
    assert set(told["milliseconds_per_image"]) == set(FILES)
    for batches in told["milliseconds_per_image"].values():
        assert set(batches) == {"1", "32"}
        assert all(took > 0 for took in batches.values())
    second.pop("latency.json")
    name = str(world["model"]).encode()
    assert {k: v.replace(name, b"") for k, v in first.items()} == {k: v.replace(name, b"") for k, v in second.items()}


def test_it_writes_where_dvc_has_left_only_what_the_clock_said(world, tmp_path):
    """DVC removes a stage's outs before it runs the stage again."""
    tracked = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["export"]["do"]["outs"]
    out = shutil.copytree(world["out"], tmp_path / "student")
    for path in tracked:
        (out / path.split("/")[-1]).unlink()
    assert [path.name for path in out.iterdir()] == ["latency.json"]
    check_out(out, [world["split"], world["model"]])


def test_a_file_that_answers_otherwise_is_not_written(world, tmp_path, monkeypatch):
    other = new_network(5)
    real = tasks.export.write_fp32
    monkeypatch.setattr(tasks.export, "write_fp32", lambda net, path, size: real(other, path, size=size))
    with pytest.raises(BadInput, match=r"away from PyTorch, 0.0001 is allowed.*Choose another network"):
        export(world["split"], world["model"], params=small_params(), out=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_copy_that_cannot_be_made_costs_none_of_the_others(world, tmp_path, monkeypatch):
    def fail(fp32, path):
        path.write_bytes(b"half")
        raise ValueError("Expected x to be an initializer")

    monkeypatch.setattr(tasks.export, "write_int8", fail)
    out = tmp_path / "export"
    with pytest.raises(BadInput, match=r"model\.int8\.onnx cannot be made.*initializer.*The other files are in"):
        export(world["split"], world["model"], params=small_params(), out=out)
    names = {"model.onnx", "model.fp16.onnx", "export.json", "report.md", "latency.json"}
    assert {path.name for path in out.iterdir()} == names
    assert set(json.loads((out / "export.json").read_text())["variants"]) == {"fp32", "fp16"}
    assert "model.int8.onnx cannot be made" in (out / "report.md").read_text()


def unknown(fp32, path):
    """A graph with an operator that there is not."""
    graph = onnx.load(fp32)
    graph.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(graph, path)


def ending_in(operator, constant, fp32, path):
    """The graph, and behind it one more operator with a constant."""
    graph = onnx.load(fp32)
    last = graph.graph.node[-1].output
    graph.graph.initializer.append(onnx.numpy_helper.from_array(constant, "constant"))
    graph.graph.node.append(onnx.helper.make_node(operator, ["before", "constant"], [last[0]]))
    last[0] = "before"
    onnx.save(graph, path)


stumbling = partial(ending_in, "Reshape", np.array([-1, 7]))  # it can be opened, and wants 7 numbers of an image
flooded = partial(ending_in, "Div", np.float32([0]))


@pytest.mark.parametrize("write", [lambda fp32, path: path.write_bytes(b"half"), unknown, stumbling, flooded])
def test_a_copy_that_onnxruntime_cannot_run_costs_none_of_the_others(world, tmp_path, monkeypatch, write):
    monkeypatch.setattr(tasks.export, "write_fp16", write)
    out = tmp_path / "export"
    with pytest.raises(BadInput, match=r"(?s)model\.fp16\.onnx cannot be run \(.*The other files are in"):
        export(world["split"], world["model"], params=small_params(), out=out)
    assert {path.name for path in out.glob("*.onnx")} == {"model.onnx", "model.int8.onnx"}
    assert set(json.loads((out / "export.json").read_text())["variants"]) == {"fp32", "int8"}
    assert set(json.loads((out / "latency.json").read_text())["milliseconds_per_image"]) == {"fp32", "int8"}
    assert "model.fp16.onnx cannot be run" in (out / "report.md").read_text()


def test_a_network_that_onnxruntime_cannot_run_is_refused(world, tmp_path, monkeypatch):
    real = tasks.export.write_fp32
    monkeypatch.setattr(
        tasks.export, "write_fp32", lambda net, path, size: (real(net, path, size=size), stumbling(path, path))
    )
    with pytest.raises(BadInput, match=r"(?s)onnxruntime cannot run this network.*Choose another network\.name"):
        export(world["split"], world["model"], params=small_params(), out=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_precision_auto_still_compares_in_float32(world, tmp_path):
    """Where bf16 is multiplied, PyTorch's own answers are otherwise 0.01 away from themselves."""
    params = small_params()
    bf16 = replace(params, compute=replace(params.compute, precision="bf16"))
    out = export(world["split"], world["model"], params=bf16, out=tmp_path / "export")
    assert json.loads((out / "export.json").read_text())["variants"]["fp32"]["max_difference"] <= 1e-4


def test_a_model_of_other_classes_is_refused(world, tmp_path):
    other = save(tmp_path / "other", new_network(1, SPEC), ["cat", "dog", "eel"])
    with pytest.raises(BadInput, match="the model knows the classes"):
        export(world["split"], other, params=small_params(), out=tmp_path / "export")
    assert not os.path.exists(tmp_path / "export")
