"""How far a stage is: a bar in a terminal, lines that a flow turns into a progress artifact elsewhere."""

import sys
import time
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
