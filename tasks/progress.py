"""How far a stage is: a bar in a terminal, lines that a flow turns into a progress artifact elsewhere; its memory."""

import resource
import sys
import time
from pathlib import Path
from types import TracebackType

from tqdm import tqdm


class Progress:
    """`with Progress("student", 1500) as bar: bar.update(1, "loss 0.41")`. Prints every two seconds at most."""

    def __init__(self, name: str, total: int, start: int = 0):
        self.name, self.total, self.done = name, total, start
        self.began, self.start, self.told = time.monotonic(), start, 0.0
        self.bar = tqdm(total=total, initial=start, desc=name, unit="step") if sys.stdout.isatty() else None

    def update(self, number: int, text: str = "") -> None:
        self.done += number
        if self.bar is not None:
            self.bar.update(number)
            self.bar.set_postfix_str(text, refresh=False)
            return
        now = time.monotonic()
        if now - self.told > 2 or self.done >= self.total:
            self.told = now
            rate = (self.done - self.start) / max(now - self.began, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            share = self.done / max(self.total, 1)
            print(f"@progress {share:.4f} {self.name} {self.done}/{self.total}, {left:.0f} s left {text}", flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def memory_told() -> str:
    """For the log alone, without the processes that make batches."""
    return f"at most {peak() / 1e9:.2f} GB of memory"


def peak() -> int:
    """The most bytes that this process has had in memory, on Linux since it became this program: its parent's do not
    count."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
