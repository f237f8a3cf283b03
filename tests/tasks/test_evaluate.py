import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_work import CLASSES, SPEC, contents, make_split, new_network, save, small_params, train

from tasks.evaluate import evaluate
from tasks.io import write_json
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    model = save(folder / "model", train(new_network(0), split, 12))
    return split, model


@pytest.fixture(scope="module")
def tested(world, tmp_path_factory):
    return evaluate(*world, params=small_params(), out=tmp_path_factory.mktemp("out") / "evaluation")


def test_metrics_say_what_the_predictions_say(tested):
    metrics, table = json.loads((tested / "metrics.json").read_text()), pq.read_table(tested / "predictions.parquet")
    label, said = table["label"].to_numpy(), table["predicted"].to_numpy()
    probabilities = np.array(table["probabilities"].to_pylist())
    assert metrics["images"] == len(label) == 90
    assert metrics["accuracy"] == pytest.approx((label == said).mean())
    assert metrics["accuracy"] > 0.8  # it was trained on these very images
    assert metrics["error"] == pytest.approx(1 - metrics["accuracy"])
    assert metrics["nll"] == pytest.approx(-np.log(probabilities[np.arange(90), label]).mean(), rel=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == said).all()
    assert np.array(metrics["confusion"]).sum(1).tolist() == [30, 30, 30]
    assert metrics["per_class"][CLASSES[2]]["recall"] == pytest.approx((said == 2)[label == 2].mean())
    assert sum(b["count"] for b in metrics["reliability"]) == 90


def test_predictions_are_in_the_order_of_the_split(tested):
    ids = pq.read_table(tested / "predictions.parquet")["id"].to_pylist()
    assert ids == sorted(ids)
    assert all(name.startswith("labelled/test-") for name in ids)


def test_equal_inputs_give_equal_bytes(world, tested, tmp_path):
    assert contents(evaluate(*world, params=small_params(), out=tmp_path / "again")) == contents(tested)


def test_report_is_a_small_page_with_pictures_inside(tested):
    report = (tested / "report.md").read_text()
    assert report.count("data:image/png;base64,") == 2
    assert "http" not in report
    assert len(report) < 60_000
    assert "green\\|grass" in report  # a bar in a class name would end the cell


def test_a_class_nobody_answers_has_no_precision_rather_than_nan(world, tmp_path):
    network = new_network(1)
    network.net.get_classifier().bias.data[0] = 100.0  # answers class 0 whatever it sees
    out = evaluate(world[0], save(tmp_path / "model", network), params=small_params(), out=tmp_path / "out")
    rows = json.loads((out / "metrics.json").read_text())["per_class"]
    assert rows[CLASSES[0]] == {"recall": 1.0, "precision": pytest.approx(1 / 3), "support": 30}
    assert rows[CLASSES[1]] == {"recall": 0.0, "precision": None, "support": 30}


def test_no_model_is_said_and_not_hidden(world, tmp_path):
    (tmp_path / "oracle").mkdir()
    write_json(tmp_path / "oracle" / "unavailable.json", {"reason": "the pool has no hidden labels"})
    out = evaluate(world[0], tmp_path / "oracle", params=small_params(), out=tmp_path / "out")
    assert json.loads((out / "metrics.json").read_text()) == {
        "available": False,
        "reason": "the pool has no hidden labels",
    }
    assert "the pool has no hidden labels" in (out / "report.md").read_text()
    assert not (out / "predictions.parquet").exists()


def test_a_model_of_other_classes_is_refused_and_nothing_is_written(world, tmp_path):
    other = save(tmp_path / "model", new_network(0, SPEC), ["cat", "dog", "eel"])
    with pytest.raises(BadInput, match=r"cat.*blue"):
        evaluate(world[0], other, params=small_params(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_that_are_not_finite_are_no_result(world, tmp_path):
    network = new_network(0)
    next(network.parameters()).data[0] = float("nan")
    with pytest.raises(BadInput, match="not finite"):
        evaluate(world[0], save(tmp_path / "model", network), params=small_params(), out=tmp_path / "out")


def test_a_split_without_test_images_is_refused(tmp_path):
    split = make_split(tmp_path, {"labelled": 6, "pool": 6})
    with pytest.raises(BadInput, match="no test image"):
        evaluate(split, save(tmp_path / "model", new_network(0)), params=small_params(), out=tmp_path / "out")
