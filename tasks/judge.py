"""The judge: is the candidate proven better than what labels alone give, and no worse than what is in production?"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.answers import Answers, ask, read_answers
from tasks.checks import Check, Contender, Slice, check, gain, slices
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.text import Markup, bullets, first_few, percent
from tasks.text import table as markdown
from tasks.training import copy_model, rows_of
from tutelage.data.groups import FEW
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.comparison import Interval
from tutelage.models.files import load_model
from tutelage.types import BadInput

BATCH = 256
SHOWN = 10  # slices named in a note


@dataclass(frozen=True)
class Verdict:
    promote: bool
    winner: str  # candidate, champion or baseline
    reasons: list[str]


def judge(
    split: Path, candidate: Path, candidate_evaluation: Path, baseline: Path, baseline_evaluation: Path,
    champion: Path, *, params: Params, out: Path,
) -> Path:  # fmt: skip
    """Candidate, supervised baseline and champion on the test split -> verdict.json, report.md, the winner's model.

    The champion is the model in production; where there is none yet, the baseline. A candidate is promoted when it
    beats the baseline beyond chance and is not inferior to the champion.
    """
    table = read_split(split)
    new = contender("candidate", candidate, read_answers(candidate_evaluation), candidate_evaluation)
    fair = contender("baseline", baseline, read_answers(baseline_evaluation), baseline_evaluation)
    in_production = (champion / "model.safetensors").exists()
    old = _production(table, champion, params) if in_production else fair
    same_test(table, {one.name: one.answers for one in (new, fair, old)})
    progress = gain(new, fair, params)
    found = slices(new, old, params)
    checks = check(new, fair, old, found, params)
    verdict = decide(new, fair, old, checks, params)
    content = {
        **asdict(verdict),
        "champion": "production" if in_production else "baseline",
        "checks": [asdict(one) for one in checks],
        **told_slices(found),
        "gain": {"error_reduction": progress.estimate, "low": progress.low, "high": progress.high},
        "digests": {
            "split": hashlib.sha256((split / "split.parquet").read_bytes()).hexdigest(),
            "test": digest_of_test(table),
            "candidate": new.card.sha256,
            "baseline": fair.card.sha256,
            "champion": old.card.sha256,
        },
    }
    folder_of = {"candidate": candidate, "baseline": baseline, "champion": champion}
    with whole(out) as folder:
        copy_model(folder_of[verdict.winner], folder)
        write_json(folder / "verdict.json", content)
        (folder / "report.md").write_text(verdict_page(content))
    return out


def decide(new: Contender, fair: Contender, old: Contender, checks: list[Check], params: Params) -> Verdict:
    """Who wins, and why in sentences a product owner can read."""
    stays = "the supervised baseline" if old is fair else "the model in production"
    loser = "baseline" if old is fair else "champion"
    if new.card.sha256 == old.card.sha256:
        return Verdict(False, loser, [f"Not promoted: the candidate is {stays}, byte for byte."])
    progress = gain(new, fair, params)
    if all(one.passed for one in checks):
        held = [] if old is fair else ["It is not inferior to the model in production in any check."]
        return Verdict(True, "candidate", [f"Promoted: {_in_words(progress)}.", *held])
    failed = [f"{one.name}: {one.reason}" for one in checks if not one.passed]
    last = f"So {stays} is kept."
    if old is not fair and gain(fair, old, params).low > 0:
        last += (
            " But the supervised baseline is better than it beyond chance: labels alone would improve production. "
            "Look at why the rounds did not help before you promote that by hand, with "
            "`python -m tasks.promote by_hand work/baseline registry work/split`."
        )
    return Verdict(False, loser, [f"Not promoted: {_in_words(progress)}.", *failed, last])


def _in_words(progress: Interval) -> str:
    more = "lower" if progress.estimate >= 0 else "higher"
    ends = f"95 % interval of the reduction {percent(progress.low)} to {percent(progress.high)}"
    return f"the candidate's error is {percent(abs(progress.estimate))} {more} than the supervised baseline's ({ends})"


def contender(name: str, model: Path, answers: Answers, evaluation: Path) -> Contender:
    """A model with its answers. BadInput where the evaluation is another model's."""
    network, card = load_model(model / "model.safetensors")
    measured = read_json(evaluation / "metrics.json")["model"]
    if measured != card.sha256:
        raise BadInput(f"{evaluation} tested another model ({measured[:12]}) than {model} holds ({card.sha256[:12]}). "
                       "Run `dvc repro` to test it again")  # fmt: skip
    return Contender(name, network, card, answers)


def _production(table: pa.Table, champion: Path, params: Params) -> Contender:
    network, card = load_model(champion / "model.safetensors")
    same_classes(champion, card.classes, classes_of(table), flow="retrain")
    return Contender("champion", network, card, ask(table, network, card, compute=params.compute, batch=BATCH))


def same_classes(champion: Path, known: list[str], classes: list[str], *, flow: str) -> None:
    """BadInput where the model in production knows other classes than this split."""
    if known != classes:
        raise BadInput(
            f"{champion} holds a production model of the classes {known}, but this split has {classes}. They cannot "
            f"be compared: correct the labels, or empty {champion} and {champion.with_name('production')}, which "
            f"`{flow}` copies there, to judge against the baseline instead"
        )


def same_test(table: pa.Table, answers: dict[str, Answers]) -> None:
    """BadInput where one of the models, by name, was asked about other images than this split's."""
    ids = table["id"].take(pa.array(rows_of(table, "test"))).to_pylist()
    for name, said in answers.items():
        if said.ids != ids:
            raise BadInput(f"the {name} was tested on other images than this split's. Run `dvc repro` to test it again")


def digest_of_test(table: pa.Table) -> str:
    """Changes with any test image, its place or its label: two verdicts with equal digests judged on the same data."""
    test = table.take(pa.array(rows_of(table, "test")))
    rows = zip(*(test[name].to_pylist() for name in ("id", "sha256", "label")), strict=True)
    return hashlib.sha256("\n".join(f"{a} {b} {c}" for a, b, c in rows).encode()).hexdigest()


def verdict_page(content: dict[str, Any]) -> str:
    """What is decided of a candidate, and why, as Markdown."""
    verdict = "promote the candidate" if content["promote"] else f"the {content['winner']} wins"
    more = _slices(content["slices"]) if "slices" in content else []
    return page(f"Verdict: {verdict}", content["reasons"], content["checks"], ("candidate", "compared with"), *more)


def told_slices(found: list[Slice]) -> dict[str, list[dict[str, Any]]]:
    """What verdict.json says of slices: nothing where there are none."""
    names = ("name", "images", "units", "candidate", "champion")
    return {"slices": [{name: getattr(one, name) for name in names} for one in found]} if found else {}


def _slices(found: list[dict[str, Any]]) -> list[str]:
    rows = [[x["name"], *(_number(x[name]) for name in ("images", "candidate", "champion"))] for x in found]
    few = [x["name"] for x in found if x["units"] < FEW]
    said = f"Of fewer than {FEW} images or groups, which prove little: {first_few(few, SHOWN)}."
    told = ["\n".join(bullets([said]))] if few else []
    return [markdown(["slice", "images", "candidate", "compared with"], rows), *told]


def page(title: str, reasons: Sequence[str], checks: list[dict[str, Any]], names: tuple[str, str], *more: str) -> str:
    """Reasons and rules as Markdown, for a candidate and a champion of these names."""
    failed = Markup("**failed**")
    rows = [
        [c["name"], _number(c["candidate"]), _number(c["champion"]), c["rule"], "passed" if c["passed"] else failed]
        for c in checks
    ]
    told, rules = "\n".join(bullets(reasons)), markdown(["check", *names, "rule", ""], rows)
    return "\n\n".join([f"# {title}", told, rules, *more]) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
