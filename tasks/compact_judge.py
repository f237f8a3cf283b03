"""The judge of compression: may the compact student take its teacher's place?"""

import hashlib
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks import latency
from tasks.answers import gained, read_answers
from tasks.checks import Check, Contender
from tasks.fair import uneven_pair
from tasks.io import read_json, whole, write_json
from tasks.judge import contender, digest_of_test, page, same_test
from tasks.params import Params
from tasks.text import percent, table
from tasks.training import copy_model
from tutelage.data.manifest import read_split
from tutelage.metrics.comparison import Interval
from tutelage.models.export import FILES, Session
from tutelage.types import BadInput


def compact_judge(
    split: Path, teacher: Path, student: Path, evaluation: Path, exported: Path, *, params: Params, out: Path
) -> Path:
    """Compact student against its teacher on the test split -> verdict.json, report.md, and the model that stays, as
    model.safetensors and model.onnx.

    EVALUATION holds teacher/, student/ and baseline/, EXPORTED teacher/ and student/. The student takes the place when
    it is small enough, fast enough as ONNX on the CPU, and no less accurate beyond the margin and chance.
    """
    places = {"student": student, "teacher": teacher}
    new, old = (
        contender(name, place, read_answers(evaluation / name), evaluation / name) for name, place in places.items()
    )
    plain = read_answers(evaluation / "baseline")
    split_table = read_split(split)
    same_test(split_table, {"student": new.answers, "teacher": old.answers, "baseline": plain})
    checks = [_accuracy(new, old, params), _size(new, old, exported, params), _speed(new, old, exported, params)]
    promote = all(check.passed for check in checks)
    winner = "student" if promote else "teacher"
    gain = gained(new.answers, plain, params).difference
    size = int(read_json(evaluation / "baseline" / "metrics.json")["parameters"])
    beside = _beside(gain, size, new.card.parameters)
    trained = params.compress.student, params.compress.baseline
    told = uneven_pair(*trained, section="compress", names=("student", "baseline"), whose="the teacher's")
    reasons = [*_reasons(promote, checks), beside, *told]
    content = {
        "promote": promote,
        "winner": winner,
        "reasons": reasons,
        "checks": [asdict(check) for check in checks],
        "gain": {"accuracy": gain.estimate, "low": gain.low, "high": gain.high},  # of the teacher's answers
        "variants": {name: read_json(exported / name / "export.json")["variants"] for name in places},
        "digests": {
            "split": hashlib.sha256((split / "split.parquet").read_bytes()).hexdigest(),
            "test": digest_of_test(split_table),
            "student": new.card.sha256,
            "teacher": old.card.sha256,
        },
    }
    with whole(out) as folder:
        copy_model(places[winner], folder)
        shutil.copyfile(exported / winner / FILES["fp32"], folder / FILES["fp32"])
        write_json(folder / "verdict.json", content)
        (folder / "report.md").write_text(_markdown(content, _worst_class(new, old)))
    print("\n".join(reasons), flush=True)
    return out


def _accuracy(new: Contender, old: Contender, params: Params) -> Check:
    found, margin = gained(new.answers, old.answers, params).difference, params.compress.judge.margin
    rule = f"low end of the 95 % interval of the difference above {percent(-margin)}"
    reason = f"the difference of accuracy lies in {percent(found.low, 2)} to {percent(found.high, 2)}"
    now, before = float(new.answers.right.mean()), float(old.answers.right.mean())
    return Check("accuracy", now, before, rule, found.low > -margin, reason)


def _size(new: Contender, old: Contender, exported: Path, params: Params) -> Check:
    now, before = (_bytes(exported, one) for one in (new, old))
    limit = params.compress.judge.smaller
    reason = f"its ONNX file has {now:,} bytes, {before / now:.2f} times fewer than the teacher's {before:,}"
    return Check("size", now, before, f"at least {limit:g} times fewer bytes", before >= limit * now, reason)


def _bytes(exported: Path, one: Contender) -> int:
    about = read_json(exported / one.name / "export.json")
    if about["model"] != one.card.sha256:
        raise BadInput(f"{exported / one.name} exports another model than the {one.name}. Run `dvc repro` again")
    return int(about["variants"]["fp32"]["bytes"])


def _speed(new: Contender, old: Contender, exported: Path, params: Params) -> Check:
    """The clock decides, but only its answer is kept; the numbers are counted operations."""
    limit = params.compress.judge.faster
    now, before = (latency.operations(one.network, one.card.image_size) for one in (new, old))
    ratios = []
    for batch in latency.BATCHES:
        calls = [_call(exported, one, batch, params) for one in (new, old)]
        student, teacher = latency.per_call(calls)
        ratios.append(teacher / student)
        print(
            f"latency at batch {batch}: {latency.told(batch, {'student': student, 'teacher': teacher})}, "
            f"{ratios[-1]:.2f} times faster (at least {limit:g})",
            flush=True,
        )
    passed = latency.within(1 / min(ratios), 1 / limit, now / before)
    rule = f"at least {limit:g} times faster on the CPU for 1 and 32 images (the numbers: operations an image)"
    doubt = latency.doubt(passed, 1 / limit, now / before)
    reason = f"it is {'at least' if passed else 'less than'} {limit:g} times faster{doubt}"
    return Check("speed", now, before, rule, passed, reason)


def _call(exported: Path, one: Contender, batch: int, params: Params) -> Any:
    session = Session(exported / one.name / FILES["fp32"], threads=params.compute.threads)
    size = one.card.image_size
    images = np.random.default_rng(0).random((batch, 3, size, size), np.float32)
    return partial(session, images)


def _beside(gain: Interval, plain: int, found: int) -> str:
    """The student, of `found` parameters, beside the baseline, of `plain`: a search may have made it another one."""
    ends = f"95 % interval {percent(gain.low, 2)} to {percent(gain.high, 2)}"
    by = f"{percent(abs(gain.estimate), 2)} {'less' if gain.estimate < 0 else 'more'} accurate ({ends})"
    other = f"Another network ({plain:,} parameters, the student has {found:,})"
    return f"{'The same network' if plain == found else other} from labels alone: the student is {by}."


def _reasons(promote: bool, checks: list[Check]) -> list[str]:
    if promote:
        return [f"The student takes its teacher's place: {'; '.join(c.reason for c in checks)}."]
    return ["The teacher stays.", *(f"{check.name}: {check.reason}" for check in checks if not check.passed)]


def _worst_class(new: Contender, old: Contender) -> str:
    """An average can hide a class: it is told, though no rule reads it."""
    names, labels = new.card.classes, new.answers.labels
    drops = {
        name: float(old.answers.right[labels == place].mean() - new.answers.right[labels == place].mean())
        for place, name in enumerate(names)
        if (labels == place).any()
    }
    worst = max(drops, key=lambda name: drops[name])
    if drops[worst] <= 0:
        return "No class loses recall."
    return f"The class that loses most recall is {worst}: {100 * drops[worst]:.1f} points."


def _markdown(content: dict[str, Any], worst: str) -> str:
    files = [
        [name, kind, f"{v['bytes']:,}", percent(v["accuracy"], 2), f"{v['max_difference']:.2g}"]
        for name, variants in content["variants"].items()
        for kind, v in variants.items()
    ]
    header = ["model", "precision", "bytes", "test accuracy", "largest difference to PyTorch"]
    title = f"Compression: the {content['winner']} {'takes over' if content['promote'] else 'stays'}"
    reasons = [*content["reasons"], worst]
    return page(title, reasons, content["checks"], ("student", "teacher"), table(header, files))
