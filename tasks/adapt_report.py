"""What adaptation was worth, and whether the choice was right."""

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.adapt_choose import SOURCE, students
from tasks.answers import Answers, ask, gained
from tasks.fair import uneven_choice
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.text import as_typed, percent
from tasks.text import table as markdown
from tutelage.data.manifest import read_split
from tutelage.methods.supervised import Supervised
from tutelage.metrics.classification import accuracy
from tutelage.metrics.validators import Scores, rank_correlation
from tutelage.models.files import load_model

VALIDATORS = tuple(field.name for field in fields(Scores))


def adapt_report(
    split: Path, source: Path, candidates: Path, rounds: Path, choice: Path, *, params: Params, out: Path
) -> Path:
    """Accuracy of all candidates on the target's test, the only place where its labels are read -> report.json,
    report.md: one row each, a line a round, and how well each validator's order agrees with the truth (Spearman).
    """
    table, chosen = read_split(split), read_json(choice / "choice.json")
    accepted = students(rounds, params)

    def said(folder: Path) -> Answers:
        network, card = load_model(folder / "model.safetensors")
        return ask(table, network, card, compute=params.compute, batch=params.evaluate.batch)

    folders = {name: accepted.get(name, candidates / name) for name in chosen["candidates"]} | {SOURCE: source}
    answers = {name: said(folder) for name, folder in folders.items()}
    truth = {name: _accuracy(each) for name, each in answers.items()}
    kept = {name: truth[name] for name in chosen["ranking"]}
    orders: dict[str, dict[str, float]] = {
        key: {name: chosen["candidates"][name][key] for name in kept} for key in VALIDATORS
    }
    orders["vote"] = {name: -chosen["mean_rank"][name] for name in kept}
    content = {
        "accuracy": truth,
        "rounds": [_line(rounds / f"{n}", _accuracy(said(rounds / f"{n}/student"))) for n in params.adapt.rounds],
        "chosen": chosen["chosen"],
        "best": max(truth, key=lambda name: truth[name]),
        **_gains(answers, chosen["chosen"], params),
        "rank_correlation": {key: rank_correlation(order, kept) for key, order in orders.items()},
        "turns": {name: _turns(folder) for name, folder in folders.items() if (folder / "turns.json").exists()},
    }
    with whole(out) as folder:
        write_json(folder / "report.json", content)
        (folder / "report.md").write_text(_markdown(content, chosen))
    print(as_typed((out / "report.md").read_text()))
    return out


def _accuracy(said: Answers) -> float:
    return accuracy(said.labels, said.predicted)


def _gains(answers: dict[str, Answers], chosen: str, params: Params) -> dict[str, Any]:
    """What the chosen one gains on the source alone; `fair`: on what the source's labels alone give in more steps, the
    longest such run, None where no candidate is one; `uneven`: where that run is not as long.
    """
    alone = {
        name: wanted.steps
        for name, wanted in params.adapt.candidates.items()
        if isinstance(wanted.learn, Supervised)
        and wanted.start == "source"
        and not wanted.translated
        and name in answers
    }

    def gain(reference: str) -> dict[str, Any]:
        found = gained(answers[chosen], answers[reference], params).difference
        return {"gain": found.estimate, "low": found.low, "high": found.high}

    if not alone:
        return gain(SOURCE) | {"fair": None, "uneven": []}
    name = max(alone, key=lambda each: alone[each])
    fair = {"name": name, "steps": alone[name], **gain(name)}
    return gain(SOURCE) | {"fair": fair, "uneven": uneven_choice(params.adapt, chosen, name, answers)}


def _line(folder: Path, right: float) -> dict[str, Any]:
    """What became of a round, whether its student was kept or not."""
    told, labels = read_json(folder / "guard/guard.json"), read_json(folder / "labels/manifest.json")
    return {
        "round": told["round"],
        "kept": labels["kept"] / max(1, labels["images"]),
        "student": right,
        **{key: told[key] for key in ("verdict", "accepted", "reasons")},
    }


def _turns(folder: Path) -> dict[str, int]:
    """How many turns each domain had."""
    return dict(Counter(each["domain"] for each in read_json(folder / "turns.json")["turns"]))


def _markdown(content: dict[str, Any], chosen: dict[str, Any]) -> str:
    rows = [
        [name, percent(share, 2), "chosen" if name == content["chosen"] else ""]
        for name, share in sorted(content["accuracy"].items(), key=lambda item: -item[1])
    ]
    agree = [[key, "-" if value is None else f"{value:.2f}"] for key, value in content["rank_correlation"].items()]
    fair = content["fair"]
    said = f"Chosen without labels: **{content['chosen']}**, {_points(content)} against the source alone"
    if fair is None:
        said += ". What more steps of the source alone give is not known: no candidate learns by `supervised`."
    else:
        said += f", and {_points(fair)} against {fair['name']}, which has {fair['steps']:,} more steps of the source."
    said += " In brackets: 95 % intervals for other images of the target."
    parts = ["# Adaptation", said, *(f"{line}." for line in content["uneven"])]
    parts += [markdown(["model", "accuracy on the target's test", ""], rows)]
    lines = [
        [
            each["round"], percent(each["kept"]), percent(each["student"], 2), "yes" if each["accepted"] else "no",
            " ".join([each["verdict"], *each["reasons"]]),
        ]
        for each in content["rounds"]
    ]  # fmt: skip
    head = ["round", "target images labelled", "its student on the target's test", "goes on", "guard"]
    parts += ["## Rounds", markdown(head, lines), "## Validators"]
    parts += ["Order of each validator against the truth:", markdown(["validator", "rank correlation"], agree)]
    for name, had in content["turns"].items():
        parts += [f"Turns of {name}: " + ", ".join(f"{count} of {domain}" for domain, count in had.items()) + "."]
    parts += [f"Refused by the guard: {', '.join(chosen['refused']) or 'none'}."]
    return "\n\n".join(parts) + "\n"


def _points(found: dict[str, Any]) -> str:
    gain, low, high = (100 * found[key] for key in ("gain", "low", "high"))
    return f"{gain:+.2f} points ({low:+.2f} to {high:+.2f})"
