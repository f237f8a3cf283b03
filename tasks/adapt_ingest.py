"""Which images of two domains there are."""

from dataclasses import replace
from pathlib import Path

from tasks.adapt_doctor import WORDS
from tasks.ingest import ingest
from tasks.params import Ingest, Params
from tasks.wording import refusals


def adapt_ingest(root: Path, *, params: Params, out: Path) -> Path:
    """Folders of a labelled source, a target and its test -> manifest.parquet and report, as of `ingest`."""
    named = params.adapt.ingest
    wanted = Ingest(root=named.root, labelled=named.source, pool=named.target, test=named.test, leaks="drop")
    with refusals(WORDS):
        return ingest(root, params=replace(params, ingest=wanted), out=out)
