"""What a stage or a task shows in Prefect. A server that has gone away costs the picture, never the stage."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

P = ParamSpec("P")
T = TypeVar("T")

EVERY = 1.0  # seconds between two updates of a progress bar


class Shown:
    """The artifacts of one task run, of a stage or of what else has something to show."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._bar: UUID | None = None
        self._told = 0.0
        self._gone = False
        self._settings: dict[int, SettingsContext] = {}  # by retries

    def progress(self, share: float, text: str) -> None:
        """A bar, `share` from 0 to 1."""
        if self._gone or (share < 1 and time.monotonic() - self._told < EVERY):
            return
        self._told = time.monotonic()
        percent, description = 100 * min(share, 1.0), text or self.stage
        if self._bar is None:
            self._bar = cast("UUID | None", self._send(0, create_progress_artifact, percent, description=description))
        else:
            self._send(0, update_progress_artifact, self._bar, percent, description=description)

    def report(self, path: Path) -> None:
        """The Markdown of a report, under a key that keeps its versions from run to run."""
        key = "report-" + re.sub(r"[^a-z0-9]+", "-", self.stage.lower()).strip("-")
        self.markdown(path.read_text(), key=key, description=f"{self.stage}: {path.name}")

    def markdown(self, text: str, *, key: str, description: str) -> None:
        self._send(1, create_markdown_artifact, text, key=key, description=description)

    def _send(self, retries: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Prefect's own five retries would hold the stage for a minute, its output unread."""
        try:
            with self._retrying(retries):
                return call(*args, **kwargs)
        except httpx.HTTPError as error:
            self._gone = isinstance(error, httpx.TransportError)  # not when it is only busy
            get_run_logger().warning("%s goes on, an artifact of it is lost: %r", self.stage, error)
            return None

    def _retrying(self, times: int) -> SettingsContext:
        """Made once: Prefect validates all of its settings anew, which takes longer than to send a number."""
        if times not in self._settings:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: times}):
                self._settings[times] = get_settings_context()
        return self._settings[times]
