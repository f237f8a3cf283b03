"""What people were asked, and whether they have begun to answer."""

import hashlib
from pathlib import Path
from typing import Any

from tasks.io import read_json
from tutelage.types import BadInput

ASKED = "asked.json"
SHEET = "ask.csv"  # of classes
BOXES = "ask.json"  # of boxes
SUGGESTED = "suggested.json"  # the same, as it was written


def read_asked(folder: Path) -> dict[str, Any]:
    """asked.json of a folder that `ask` wrote. Raises BadInput for any other."""
    path = folder / ASKED
    try:
        asked = dict(read_json(path))
        asked["sheet"], asked["sha256"], asked["classes"], asked["images"]
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist: {folder} is no folder that `python -m tasks ask` wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({type(error).__name__}: {error}). Ask anew, elsewhere") from error
    return asked


def check_unanswered(out: Path) -> None:
    """Raises BadInput where writing `out` would delete what people have filled in."""
    if not (out / ASKED).exists():
        return
    asked = read_asked(out)
    sheet = out / asked["sheet"]
    if sheet.exists() and hashlib.sha256(sheet.read_bytes()).hexdigest() != asked["sha256"]:
        raise BadInput(
            f"somebody has worked on {sheet}, which would be replaced. Take it in with `python -m tasks answer {out}`, "
            "and name another folder for the next question"
        )
