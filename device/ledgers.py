"""The ledgers of the devices in this process: opened for each round, or held from round to round.

Opening a ledger verifies every entry of it. A process that has its devices to itself for a whole run (all of them live
in it) may *hold* their ledgers: each is verified once, and before each further use its file must be as this process
left it. One that was touched is opened again, hence verified whole. Those that were used last stay locked; of more
than a process may have files open, the others rest without.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.security.privacy.ledger import Ledger

__all__ = ["Ledgers"]

_MOST_OPEN = 256  # a process may have 1024 files open, commonly


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

    @contextmanager
    def at(self, path: Path) -> Iterator[Ledger]:
        """The ledger of that file, for a block.

        Raises:
            InputError: there is no such file.
            RefusedError: another writer holds it (``ledger_in_use``).
            LedgerCorruptError: its chain does not hold, or lacks an entry that this process has written.
        """
        held = self._held
        ledger = held.pop(path, None) if held else None  # whoever asks for it meanwhile is refused by the lock
        ledger = ledger or self._resting.pop(path, None)
        if ledger is not None and not ledger.wake():
            ledger.close()
            ledger = None
        if ledger is None:
            ledger = Ledger.open(path, expected_head=self._heads.get(path))
        try:
            yield ledger
        except BaseException:
            self._heads[path] = ledger.head
            ledger.close()  # whatever it was, the next use begins with what is on the disk
            raise
        self._heads[path] = ledger.head
        if held is None:
            ledger.close()
            return
        held[path] = ledger
        while len(held) > _MOST_OPEN:
            oldest, other = held.popitem(last=False)
            other.rest()
            self._resting[oldest] = other

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold ledgers, verified, from their first use in this block to its end; blocks may be nested."""
        outer, resting = self._held, self._resting
        mine = self._held = OrderedDict()
        self._resting = {}
        try:
            yield
        finally:
            self._held, self._resting = outer, resting
            while mine:
                mine.popitem()[1].close()
