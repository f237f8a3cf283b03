"""What comes sooner or later, in another process."""

import subprocess
import time
from collections.abc import Callable


def until(truth: Callable[[], object], process: "subprocess.Popen[str] | None" = None, seconds: float = 300) -> None:
    """Wait for `truth`. A `process` that ends before it will not bring it any more: what it printed says why."""
    ends = time.monotonic() + seconds
    while not truth():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)
