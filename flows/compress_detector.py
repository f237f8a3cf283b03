"""From the detector that the rounds ended with to a compact one:  python -m flows.compress_detector"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of

JUDGED = Path("work/detection/compact/judge")


def narrow(reproduce: Reproduce) -> list[Run]:
    """What teaches, rounds or not, a narrower student and its baseline; verdict.

    Nothing runs beside the judge: it measures time.
    """
    reproduce("fetch", "compose", "scenes_split")
    with reproduce.beside("box_compact_evaluate@baseline"):
        reproduce("box_compact@student")
        reproduce("box_compact_evaluate@teacher", "box_compact_evaluate@student")
    return reproduce("box_compact_judge")


@flow
def compress_detector(workers: int = 2) -> None:
    """Teach a narrower detector what the rounds' one knows, and say whether it may take over."""
    with checkout(workers=workers) as reproduce:
        narrow(reproduce)


def told() -> str:
    return f"{(JUDGED / 'report.md').read_text()}\nWhat stays: {(JUDGED / 'model.safetensors').resolve()}"


if __name__ == "__main__":
    sys.exit(main_of(compress_detector, told))
