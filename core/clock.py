"""Wall-clock time as a value that is passed in, so that a test can hold it."""

import time
from collections.abc import Callable

__all__ = ["Clock", "system_clock"]

Clock = Callable[[], int]
"""Returns the time in whole milliseconds since the Unix epoch, UTC."""


def system_clock() -> int:
    """Milliseconds since the Unix epoch by the system's clock."""
    return time.time_ns() // 1_000_000
