"""Wall-clock time as a value that is passed in, so that a test can hold it, and time spent by stage."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

__all__ = ["Clock", "Stopwatch", "system_clock"]

Clock = Callable[[], int]
"""Returns the time in whole milliseconds since the Unix epoch, UTC."""


def system_clock() -> int:
    """Milliseconds since the Unix epoch by the system's clock."""
    return time.time_ns() // 1_000_000


@dataclass
class Stopwatch:
    """Seconds spent in each named stage, added up; every second counts once, for the innermost stage of its thread.

    Attributes:
        seconds: by stage.
        around: is given each stage's name, and what it returns is open while the stage is.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    around: Callable[[str], AbstractContextManager[None]] = field(default=lambda _: nullcontext(), compare=False)
    _open: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block, without that of stages inside it, to the stage."""
        inner: list[float] = self._open.__dict__.setdefault("inner", [])  # spent inside each open stage
        inner.append(0.0)
        begin = time.perf_counter()
        try:
            with self.around(name):
                yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - inner.pop()
            if inner:
                inner[-1] += spent
