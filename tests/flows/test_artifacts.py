"""What a stage shows, told to a server that is not there."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, Settings

from flows import artifacts
from flows.artifacts import Shown


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Percent, and the retries that Prefect's client would make, of each update of a bar."""
    seen: list[tuple[float, int]] = []

    def tell(*given: Any, **_: Any) -> str:
        if given[-1] == 50:
            raise httpx.ConnectError("gone")
        seen.append((given[-1], PREFECT_CLIENT_MAX_RETRIES.value()))
        return "bar"

    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(artifacts, name, tell)
    monkeypatch.setattr(artifacts, "EVERY", 0.0)
    return seen


def test_a_bar_is_told_without_retries_and_settings_are_validated_once(
    told: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, copy = [], Settings.copy_with_update
    monkeypatch.setattr(Settings, "copy_with_update", lambda *a, **b: copies.append(1) or copy(*a, **b))
    before, shown = PREFECT_CLIENT_MAX_RETRIES.value(), Shown("student@1")
    for share in (0.1, 0.2, 0.3):
        shown.progress(share, "")
    assert told == [(10, 0), (20, 0), (30, 0)]
    assert len(copies) == 1
    assert PREFECT_CLIENT_MAX_RETRIES.value() == before > 0


def test_after_a_server_has_gone_nobody_waits_for_it_again(
    told: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    log = SimpleNamespace(warning=lambda text, *about: warnings.append(text % about))
    monkeypatch.setattr(artifacts, "get_run_logger", lambda: log)
    shown = Shown("student@1")
    for share in (0.1, 0.5, 0.6):
        shown.progress(share, "")
    assert told == [(10, 0)]
    assert warnings == ["student@1 goes on, an artifact of it is lost: ConnectError('gone')"]
