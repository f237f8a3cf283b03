"""Pictures for the docs:  python -m benchmarks.screenshots [FLOW], or the report alone:  ... screenshots report

The top of reports/report.html: docs/images/report.png. Of the newest run of FLOW (expand) on the server that `make ui`
starts, Prefect's pages: graph.png and one an artifact.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

IMAGES = Path("docs/images")
REPORT = Path("reports/report.html")
# Quiet, and nothing but 127.0.0.1 is asked.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


class NoBrowser(RuntimeError):
    """There is no Chromium, or it does not start here."""


def picture(url: str, png: Path, size: tuple[int, int] = (1400, 1000)) -> str:
    """A page as a picture and, returned, as the HTML that its scripts made. Raises NoBrowser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise NoBrowser("Chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        flags = (f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=30000")
        done = subprocess.run(
            [browser, *FLAGS, *flags, f"--screenshot={png.resolve()}", "--dump-dom", url],
            text=True, capture_output=True, timeout=120,
        )  # fmt: skip
    if done.returncode or not png.exists():
        raise NoBrowser(f"Chromium does not start: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return done.stdout


def main(flow: str = "expand", server: str = "http://127.0.0.1:4200") -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    if REPORT.exists():
        picture(REPORT.resolve().as_uri(), IMAGES / "report.png", (1100, 1130))
    if flow == "report":
        sys.exit(None if REPORT.exists() else f"{REPORT} is not there. Run `make demo` first")
    run = _newest(server, flow)
    picture(f"{server}/runs/flow-run/{run}", IMAGES / "graph.png")
    for artifact in _ask(server, "artifacts", {"artifacts": {"flow_run_id": {"any_": [run]}}}):
        if artifact["type"] == "markdown":
            picture(f"{server}/artifacts/artifact/{artifact['id']}", IMAGES / f"{artifact['key']}.png", (1400, 1600))
    print(f"{flow}: {len(list(IMAGES.glob('*.png')))} pictures in {IMAGES}")


def _newest(server: str, flow: str) -> str:
    found = _ask(server, "flow_runs", {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1})
    if not found:
        sys.exit(f"{server} has seen no run of {flow!r}. Run `make demo` first")
    return str(found[0]["id"])


def _ask(server: str, what: str, which: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        said = httpx.post(f"{server}/api/{what}/filter", json=which)
    except httpx.ConnectError as error:
        sys.exit(f"Nobody answers at {server} ({error}). Start it: make ui")
    answer: list[dict[str, Any]] = said.raise_for_status().json()
    return answer


if __name__ == "__main__":
    main(*sys.argv[1:])
