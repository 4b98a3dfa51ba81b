"""The ledgers of the devices in this process: opened for each round, or held from round to round.

Opening a ledger verifies every entry of it. A process that has its devices to itself for a whole run (all of them live
in it) may *hold* their ledgers: each is verified once, and before each further use its file must be as this process
left it. One that was touched is opened again, hence verified whole. Those that were used last stay locked; of more
than a process may have files open, the others rest without.

A process that answers for many devices at once may also *wait for the disk once for all of them*: what they debited is
then settled together, before any of their answers leaves (:meth:`Ledgers.settle`).
"""

import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skerry.group_sync import GroupSync
from skerry.security.privacy.ledger import Ledger

__all__ = ["Ledgers"]

_DO_GOOD = 16_384


def _most_open() -> int:
    """Ledgers: half of the files that a process may have open, and no more than do any good."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _DO_GOOD if files == resource.RLIM_INFINITY else max(1, min(_DO_GOOD, files // 2))


_MOST_OPEN = _most_open()


class Ledgers:
    """Opens ledgers for one use at a time; different ledgers may be used from different threads.

    Guarantee: a ledger that is handed out was verified, is locked, and contains every entry that this process has ever
    written to it. So entries cut off at its end, or an older copy put in its place, are found out for as long as the
    process lives; the file alone could not show that.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Path, Ledger] | None = None
        self._resting: dict[Path, Ledger] = {}
        self._heads: dict[Path, str] = {}
        self._unsettled: dict[Path, Ledger] = {}
        self._failures: list[BaseException] = []
        self._group: GroupSync | None = None
        self._finding = threading.Lock()  # who looks for a ledger does not look while another is put to rest

    @property
    def group(self) -> GroupSync | None:
        """By which debits may be synced together; None where each answer waits for its own."""
        return self._group

    @contextmanager
    def at(self, path: Path) -> Iterator[Ledger]:
        """The ledger of that file, for a block.

        Raises:
            InputError: there is no such file.
            RefusedError: another writer holds it (``ledger_in_use``).
            LedgerCorruptError: its chain does not hold, or lacks an entry that this process has written.
        """
        held = self._held
        with self._finding:
            ledger = held.pop(path, None) if held else None  # whoever asks for it meanwhile is refused by the lock
            ledger = ledger or self._resting.pop(path, None)
        if path in self._unsettled:
            if self._group is not None:
                self._group.hurry()
            self._take_in(path)
        if ledger is not None and not ledger.wake():
            ledger.close()
            ledger = None
        if ledger is None:
            ledger = Ledger.open(path, expected_head=self._heads.get(path))
        try:
            yield ledger
        except BaseException:
            self._left(path, ledger)
            ledger.close()  # whatever it was, the next use begins with what is on the disk
            raise
        self._left(path, ledger)
        if held is None:
            ledger.close()
            return
        with self._finding:
            held[path] = ledger
            while len(held) > _MOST_OPEN:
                oldest, other = held.popitem(last=False)
                other.rest()
                self._resting[oldest] = other

    def _left(self, path: Path, ledger: Ledger) -> None:
        self._heads[path] = ledger.head
        if self._group is not None and ledger.unsettled:  # elsewhere nobody settles, and its user was told
            self._unsettled[path] = ledger

    def settle(self) -> None:
        """Return when every debit of a used ledger is on stable storage: now answers may leave.

        Raises:
            BaseException: of one or more it is not known; no answer may leave that was made since the last call. Their
                ledgers begin their next use with what is on the disk. An interrupt comes before any error.
        """
        if self._group is not None:
            self._group.hurry()
        for path in list(self._unsettled):
            self._take_in(path)
        failures, self._failures = self._failures, []
        if failures:
            raise next((one for one in failures if not isinstance(one, Exception)), failures[0])

    def _take_in(self, path: Path) -> None:
        ledger = self._unsettled.pop(path)
        try:
            ledger.settle()
        except BaseException as error:  # noqa: BLE001 - told to whoever settles, once all are settled
            ledger.close()  # its next use finds it closed, and opens the file again
            error.__context__ = None  # the frames of both hold what a device has trained
            self._failures.append(error.with_traceback(None))
        else:
            self._heads[path] = ledger.head

    @contextmanager
    def holding(self, group: GroupSync | None = None) -> Iterator[None]:
        """Hold ledgers, verified, from their first use in this block to its end; blocks may be nested.

        With a ``group`` whoever lets answers out calls :meth:`settle` first.
        """
        outer = self._held, self._resting, self._group, self._unsettled, self._failures
        mine = self._held = OrderedDict()
        self._resting, self._group, self._unsettled, self._failures = {}, group, {}, []
        try:
            yield
        finally:
            try:
                with suppress(Exception):  # no answer waits for it any more; the next block begins with the disk
                    self.settle()
            finally:
                self._held, self._resting, self._group, self._unsettled, self._failures = outer
                while mine:
                    mine.popitem()[1].close()
