"""From a large network to a compact one:  python -m flows.compress"""

import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of
from tasks.io import read_json

FOLDER = Path("work/compress")


def shrink(reproduce: Reproduce) -> list[Run]:
    """A teacher, over assistants where there are any to the compact student; exports, verdict.

    Nothing runs beside an export or the judge: they measure time.
    """
    reproduce("fetch", "doctor")
    with reproduce.beside("compact_evaluate@baseline"):
        for n in reproduce.each("compact"):
            reproduce(f"compact@{n}")
        reproduce("compact_evaluate@teacher", "compact_evaluate@student")
    reproduce("export@teacher")
    reproduce("export@student")
    return reproduce("compact_judge")


@flow
def compress(workers: int = 2) -> None:
    """Teach a compact network what a large one knows, export both, and say whether the compact one may take over."""
    with checkout(workers=workers) as reproduce:
        shrink(reproduce)
        show_files(reproduce.root / FOLDER)


@task(task_run_name="show_files", cache_policy=NO_CACHE)
def show_files(folder: Path) -> None:
    """What each exported file weighs, takes and is worth, as a table in Prefect and in the terminal."""
    table = rows(folder)
    create_table_artifact(
        table, key="compressed", description=" ".join(read_json(folder / "judge/verdict.json")["reasons"])
    )
    for row in table:
        print("  ".join(f"{name}: {content}" for name, content in row.items()), flush=True)


def rows(folder: Path) -> list[dict[str, Any]]:
    """One row an exported file. Its latency is of this machine, and "-" where the file came from DVC's cache."""
    found = []
    for model in ("teacher", "student"):
        about, clock = read_json(folder / "export" / model / "export.json"), folder / "export" / model / "latency.json"
        told = read_json(clock) if clock.exists() else {}
        took = told["milliseconds_per_image"] if told.get("model") == about["model"] else {}
        for precision, variant in about["variants"].items():
            times = {f"ms an image, batch {n}": f"{ms:.3f}" for n, ms in took.get(precision, {}).items()}
            found.append(
                {
                    "model": model,
                    "precision": precision,
                    "bytes": variant["bytes"],
                    "accuracy": f"{variant['accuracy']:.2%}",
                    **({"ms an image, batch 1": "-", "ms an image, batch 32": "-"} | times),
                    "largest difference to PyTorch": f"{variant['max_difference']:.2g}",
                }
            )
    return found


def told() -> str:
    return f"{(FOLDER / 'judge/report.md').read_text()}\nWhat stays: {(FOLDER / 'judge/model.onnx').resolve()}"


if __name__ == "__main__":
    sys.exit(main_of(compress, told))
