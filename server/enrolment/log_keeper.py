"""Whoever an invitation lets in by itself stands in the federation's log a moment later."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from skerry.errors import NotPublishedError, SkerryError

__all__ = ["LogKeeper"]

_log = logging.getLogger(__name__)


class LogKeeper:
    """Enters in a thread of its own what is due, so that no device waits for the log, and many at once are one entry.

    As a context manager it enters what is due already when it begins, and what is left when it ends. What cannot be
    entered is said in the server's log and done the next time: the registry has it.

    Args:
        enter: brings the log to what the registry has.
    """

    def __init__(self, enter: Callable[[], object]) -> None:
        self._enter = enter
        self._due, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="federation log")

    def __enter__(self) -> Self:
        self._due.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._due.set()
        self._thread.join()

    def due(self) -> None:
        """There is something to enter; returns at once."""
        self._due.set()

    def _run(self) -> None:
        over = False
        while not over:
            self._due.wait()
            over = self._over.is_set()  # before the signal is taken back: what came until then is entered below
            self._due.clear()
            try:
                self._enter()
            except NotPublishedError as error:
                _log.warning("%s", error)
            except (SkerryError, OSError) as error:
                _log.warning("enrolments are entered in the federation's log later: %s", error)
