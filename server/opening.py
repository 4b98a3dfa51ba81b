"""The opening of a device's answer to its instruction: here, or shared out among the processes of a simulation.

What another process opens is an update that holds in every way. Of anything else it says nothing: whoever asked looks
at it itself, and finds out what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cbor2

from skerry.device.protocol import Update, from_bytes
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security.envelope import Expected, Kind, Opened, open_envelope
from skerry.security.identity import Directory, Identity
from skerry.security.privacy.receipt import SignedReceipt
from skerry.server.chores import helpers, identity_of, keys_of, offer, part_of, public_keys_of, public_of
from skerry.server.engines.grid import RunGrid
from skerry.server.federation import Federation
from skerry.server.journal import Asked

__all__ = ["OPEN", "Opening", "open_answer", "open_part", "read_update"]

OPEN = "open"
"""The chore's name."""

_Answer = tuple[Update, SignedReceipt]
_TOGETHER = 32  # answers that are opened at once: few, since all wait for the last


def open_answer(federation: Federation, number: int, asked: Asked, device: str, envelope: bytes, *, now: int) -> Opened:
    """Verify and unseal an answer of this device to its instruction, as of when it came: it was fresh then, however
    long others took.
    """
    said = federation.run, number, federation.model.digest
    return _opened(federation.coordinator, federation.directory, said, device, asked.digest, envelope, now)


def read_update(opened: Opened, run: str, number: int, device: str) -> _Answer:
    """The update in an answer, and the receipt that was signed with it.

    Raises:
        InputError: it is none, or the receipt is another one.
    """
    update = Update.from_bytes(opened.payload)
    return update, SignedReceipt.take(update.receipt(run, number, device), opened)


class Opening:
    """The answers of a round, opened by helpers, as far as there are any, while others still come.

    Args:
        federation: the run.
        number: of the round.
        asked: by device, what its answer must name.
        count: how many answers may come.
    """

    def __init__(self, federation: Federation, number: int, asked: Mapping[str, Asked], count: int) -> None:
        self._federation, self._number, self._asked, self._count = federation, number, asked, count
        self._taken: set[str] = set()
        self._rows: list[tuple[str, list[Any]]] = []
        self._waits: list[tuple[list[str], Callable[[], list[Any]]]] = []

    def take(self, device: str, envelope: bytes, arrived: int) -> None:
        """Have a device's answer opened, as of when it came (ms since the epoch); again is harmless."""
        federation = self._federation
        grid = helpers(federation, self._count, len(envelope))
        if grid is None or device in self._taken or device not in federation.directory:
            return
        keys = public_keys_of(federation.directory.get(device))
        self._taken.add(device)
        self._rows.append((device, [keys, self._asked[device].digest, envelope, arrived]))
        if len(self._rows) >= part_of(grid, self._count, _TOGETHER):
            self._offer(grid)

    def _offer(self, grid: RunGrid) -> None:
        federation, rows = self._federation, self._rows
        common = [keys_of(federation.coordinator), [federation.run, self._number, federation.model.digest]]
        self._waits.append(([device for device, _ in rows], offer(grid, OPEN, common, [row for _, row in rows])))
        self._rows = []

    def opened(self) -> dict[str, _Answer]:
        """The updates of those taken that hold in every way: those of :func:`open_answer` and :func:`read_update`."""
        if self._rows:
            assert isinstance(self._federation.grid, RunGrid)
            self._offer(self._federation.grid)
        found: dict[str, _Answer] = {}
        waits, self._waits = self._waits, []
        for devices, wait in waits:
            for device, said in zip(devices, wait(), strict=True):
                if said is not None:
                    delta, *others, body, signature = said
                    update = Update(from_bytes(delta), *others)
                    receipt = update.receipt(self._federation.run, self._number, device)
                    found[device] = update, SignedReceipt(receipt, body, signature)
        return found


def open_part(part: bytes) -> bytes:
    """The chore: some of the answers."""
    (keys, said), rows = cbor2.loads(part)
    me = identity_of(keys)
    return cbor2.dumps([_row(me, said, *row) for row in rows])


def _row(
    me: Identity, said: Sequence[Any], keys: Sequence[Any], digest: bytes, envelope: bytes, now: int
) -> list[Any] | None:
    device = public_of(keys)
    run, number, _ = said
    try:
        opened = _opened(me, Directory({device.name: device}), said, device.name, digest, envelope, now)
        if opened.header.kind is not Kind.UPDATE:
            return None
        update, signed = read_update(opened, run, number, device.name)
    except (EnvelopeRefusedError, InputError):
        return None
    ledger = [update.ledger_head, update.ledger_size, update.ledger_root]
    return [update.delta.tobytes(), update.layout, *ledger, update.loss, signed.body, signed.signature]


def _opened(
    me: Identity, directory: Directory, said: Sequence[Any], device: str, digest: bytes, envelope: bytes, now: int
) -> Opened:
    run, number, model = said
    return open_envelope(
        envelope,
        me=me,
        directory=directory,
        expected=Expected(
            kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
            receiver=me.name,
            run=run,
            round=number,
            sender=device,
            in_reply_to=digest,
            model=model,
        ),
        now=now,
        replay=None,  # each instruction's digest is answered once: the collector keeps one reply a device
    )
