"""A real Prefect server for the session, and repositories to run flows in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_PROFILES_PATH,
    temporary_settings,
)
from toy import STEP, Server, Toy

from flows.server import variables

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    server = Server(home)
    path = [os.environ.get("PYTHONPATH"), str(ROOT), str(ROOT / "src"), str(ROOT / "tests/flows")]
    settings = {
        PREFECT_API_URL: server.url,
        PREFECT_HOME: home,
        PREFECT_PROFILES_PATH: home / "profiles.toml",
    }
    elsewhere = [part for part in os.get_exec_path() if Path(part) != Path(sys.executable).parent]
    inherited = variables(server.url, home) | {
        "PATH": os.pathsep.join(elsewhere),  # as of a worker started by `.venv/bin/prefect`
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    with pytest.MonkeyPatch.context() as patch, temporary_settings(settings):
        for name, value in inherited.items():
            patch.setenv(name, value)
        yield server  # `start` ends it when Python ends, after the last log has been sent


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=root, check=True)
    (root / "step.py").write_text(STEP)
    return root


@pytest.fixture
def toy(server: Server, empty: Path, tmp_path: Path) -> Toy:
    shutil.copytree(empty, tmp_path / "repository")
    return Toy(tmp_path / "repository")
