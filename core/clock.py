"""Wall-clock time as a value that is passed in, so that a test can hold it, and time spent by stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Clock", "Stopwatch", "system_clock"]

Clock = Callable[[], int]
"""Returns the time in whole milliseconds since the Unix epoch, UTC."""


def system_clock() -> int:
    """Milliseconds since the Unix epoch by the system's clock."""
    return time.time_ns() // 1_000_000


@dataclass
class Stopwatch:
    """Seconds spent in each named stage, added up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
