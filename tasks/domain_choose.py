"""Whether the model that adapted to new images is the better one there, without a label of them."""

from pathlib import Path

from tasks.adapt_choose import SOURCE, choose_among
from tasks.io import read_json, whole, write_json
from tasks.params import Params

ADAPTED = "adapted"  # the folder that dvc.yaml gives to `domain_round`


def domain_choose(watched: Path, model: Path, candidates: Path, *, params: Params, out: Path) -> Path:
    """As `adapt_choose` between `model`, which is called the source, and what `domain_round` made of it.

    Where nothing has drifted there is nothing to choose: choice.json and report.md say so.
    """
    candidate = candidates / ADAPTED
    if not (candidate / "passed.json").exists():
        return choose_among(watched, {SOURCE: model, ADAPTED: candidate}, params=params, out=out)
    why = read_json(candidate / "passed.json")["reason"]
    with whole(out) as folder:
        write_json(folder / "choice.json", {"chosen": SOURCE, "reason": why})
        (folder / "report.md").write_text(f"# Choice\n\nNothing was adapted. {why}\n")
    return out
