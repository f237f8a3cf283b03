"""Which images there are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tasks.io import whole, write_json
from tasks.params import Ingest, Params
from tasks.progress import Progress
from tasks.text import table
from tutelage.data.ingest import Settled, examine_all, manifest, settle
from tutelage.data.manifest import write_manifest
from tutelage.data.records import Examined, Refusal, Scan, SourceName
from tutelage.data.sources import check_apart, joined, scan, scan_domains

SHOWN = 20  # of each list in report.md; report.json has all
LOOKS = 10  # at a folder that more images keep coming into


def ingest(root: Path, *, params: Params, out: Path) -> Path:
    """Folder of images -> manifest.parquet (image, hashes, size, label), report (what was refused or dropped, and why).

    Sources are class folders, a CSV (image, label), or WebDataset tar shards; the pool needs no labels. The labelled
    images may be of several domains: {NAME: folder}, or a column `domain` of the CSV.
    """
    wanted = params.ingest
    scans, images, refused = _taken_in(root, wanted)
    settled = settle(images, leaks=wanted.leaks, near_duplicates=wanted.near_duplicates)
    refused = sorted([*refused, *settled.refused], key=lambda refusal: refusal.id)
    table = manifest(settled.kept, scans)
    report = _report(settled, refused, scans)
    with whole(out) as folder:
        write_manifest(folder, table)
        write_json(folder / "report.json", report)
        (folder / "report.md").write_text(_markdown(report))
    print(f"ingest: {counts(report['images'])}; refused {len(refused)}, dropped {len(settled.dropped)} spare copies")
    return out


def _taken_in(root: Path, wanted: Ingest) -> tuple[list[Scan], list[Examined], list[Refusal]]:
    """All that lies there in the end: DVC records the folder as it is then, and would not ask for what came late.

    Where images never stop to come, the last ones wait for those after them, which DVC will notice.
    """
    scans, images, refused = scanned(root, wanted), list[Examined](), list[Refusal]()
    late = scans
    for _ in range(LOOKS):
        again = {image.id for scan in late for image in scan.found}  # a file that was not whole yet
        images = [image for image in images if image.found.id not in again]
        refused = [refusal for refusal in refused if refusal.id not in again]
        more, wrong = examined(late, wanted.max_pixels, thumbnails=wanted.near_duplicates > 0)
        images, refused = images + more, refused + wrong
        before, scans = scans, scanned(root, wanted)
        late = _since(before, scans)
        if not late:
            return scans, images, refused
    print(f"images keep coming into {root}: the next run takes in what came since it was last looked at", flush=True)
    return before, images, refused


def _since(before: list[Scan], now: list[Scan]) -> list[Scan]:
    """What was not found before; [] where that is nothing."""
    known = {one for scan in before for one in (*scan.found, *scan.refused)}
    new = [
        replace(
            scan,
            found=[image for image in scan.found if image not in known],
            refused=[refusal for refusal in scan.refused if refusal not in known],
        )
        for scan in now
    ]
    return new if any(scan.found or scan.refused for scan in new) else []


def scanned(root: Path, wanted: Ingest) -> list[Scan]:
    """What lies in each source. Raises BadInput."""
    sources: dict[SourceName, str | None] = {"pool": wanted.pool, "test": wanted.test}
    rest = [scan(root, name, source) for source, name in sources.items() if name is not None]
    if isinstance(wanted.labelled, str):
        first = scan(root, wanted.labelled, "labelled")
        check_apart([first, *rest])
    else:
        parts = scan_domains(root, wanted.labelled, "labelled")
        check_apart([*parts.values(), *rest])
        first = joined(parts, root)
    return [first, *rest]


def examined(scans: list[Scan], max_pixels: int, *, thumbnails: bool) -> tuple[list[Examined], list[Refusal]]:
    """Every image of the scans, looked at; and what cannot be used."""
    refused = [refusal for scan in scans for refusal in scan.refused]
    images = []
    with Progress("ingest", sum(len(scan.found) for scan in scans)) as bar:
        for scan in scans:
            for answer in examine_all(scan, max_pixels=max_pixels, thumbnails=thumbnails):
                if isinstance(answer, Examined):
                    images.append(answer)
                else:
                    refused.append(answer)
                bar.update(1)
    return images, refused


def _report(settled: Settled, refused: list[Refusal], scans: list[Scan]) -> dict[str, Any]:
    images = Counter(image.found.source for image in settled.kept)
    labelled = Counter(image.found.label for image in settled.kept if image.found.source == "labelled")
    domains = Counter(image.found.domain for image in settled.kept if image.found.domain)
    return {
        "images": {scan.source: images[scan.source] for scan in scans},
        "labelled": dict(labelled),
        "domains": dict(domains),
        "refused": [asdict(refusal) for refusal in refused],
        "dropped": [asdict(refusal) for refusal in settled.dropped],
        "leaks": [asdict(leak) for leak in settled.leaks],
    }


def _markdown(report: dict[str, Any]) -> str:
    lines = ["# Ingest", "", f"Images that can be used: {counts(report['images'])}.", ""]
    lines += [table(["class", "labelled images"], sorted(report["labelled"].items()))]
    if report["domains"]:
        lines += ["", table(["domain", "images"], sorted(report["domains"].items()))]
    return "\n".join([*lines, *left_out(report)]) + "\n"


def left_out(report: dict[str, Any]) -> list[str]:
    """Lines of Markdown: images that are not used, and why, and those that are where they should not be."""
    titles = {
        "refused": "Images refused: cannot be used",
        "dropped": "Images dropped: a copy of them stays, or the test split has them",
        "leaks": "Leaks: training images that are test images",
    }
    lines = []
    for part, title in titles.items():
        lines += ["", f"## {title} ({len(report[part])})", *_listing(report[part])]
    return lines


def _listing(rows: Sequence[dict[str, str]]) -> list[str]:
    """Lines of Markdown: a table of the first rows."""
    if not rows:
        return ["", "None."]
    columns = list(rows[0])
    lines = ["", table(columns, [[row[column] for column in columns] for row in rows[:SHOWN]])]
    if len(rows) > SHOWN:
        lines += ["", f"... and {len(rows) - SHOWN} more, see report.json."]
    return lines


def counts(images: dict[str, int]) -> str:
    """{"pool": 3, "test": 2} -> "3 pool, 2 test"."""
    return ", ".join(f"{count} {source}" for source, count in images.items())
