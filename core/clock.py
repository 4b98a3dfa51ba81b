"""Wall-clock time as a value that is passed in, so that a test can hold it, and time spent by stage."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType

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

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Add the time of the block, without that of stages inside it, to the stage."""
        return _Stage(self, name)

    def open_stages(self) -> list[float]:
        """Seconds spent inside each stage that this thread has open, innermost last."""
        inner: list[float] = self._open.__dict__.setdefault("inner", [])
        return inner


class _Stage(AbstractContextManager[None]):
    """A class and no generator: a device of a simulated crowd passes ten of these in a millisecond."""

    __slots__ = ("_around", "_begin", "_inner", "_name", "_watch")

    def __init__(self, watch: Stopwatch, name: str) -> None:
        self._watch, self._name = watch, name

    def __enter__(self) -> None:
        self._inner = self._watch.open_stages()
        self._inner.append(0.0)
        self._begin = time.perf_counter()
        try:
            self._around = self._watch.around(self._name)
            self._around.__enter__()
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return self._around.__exit__(kind, error, trace)
        finally:
            self._leave()

    def _leave(self) -> None:
        spent = time.perf_counter() - self._begin
        seconds = self._watch.seconds
        seconds[self._name] = seconds.get(self._name, 0.0) + spent - self._inner.pop()
        if self._inner:
            self._inner[-1] += spent
