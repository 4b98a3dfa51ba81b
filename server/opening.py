"""The opening of a device's answer to its instruction: here, or shared out among the processes of a simulation.

What another process opens is an update that holds in every way. Of anything else it says nothing: whoever asked looks
at it itself, and finds out what is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cbor2

from skerry.device.protocol import Update, from_bytes
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security.envelope import Expected, Kind, Opened, open_envelope
from skerry.security.identity import Directory, Identity
from skerry.security.privacy.receipt import SignedReceipt
from skerry.server.chores import helpers, identity_of, keys_of, public_keys_of, public_of, share
from skerry.server.federation import Federation
from skerry.server.journal import Asked

__all__ = ["OPEN", "open_answer", "open_part", "open_shared", "read_update"]

OPEN = "open"
"""The chore's name."""

_Answer = tuple[Update, SignedReceipt]


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


def open_shared(
    federation: Federation,
    number: int,
    asked: Mapping[str, Asked],
    devices: Sequence[str],
    envelopes: Mapping[str, bytes],
    arrived: Mapping[str, int],
) -> dict[str, _Answer]:
    """The updates that helpers have opened: those of :func:`open_answer` and :func:`read_update`; perhaps none.

    Args:
        federation: the run.
        number: of the round.
        asked: by device, what its answer must name.
        devices: whose answers are looked at.
        envelopes: by device.
        arrived: by device, ms since the epoch.
    """
    grid = helpers(federation, len(devices), max((len(envelopes[device]) for device in devices), default=0))
    if grid is None:
        return {}
    known = [device for device in devices if device in federation.directory]
    common = [keys_of(federation.coordinator), [federation.run, number, federation.model.digest]]
    rows = [
        [public_keys_of(federation.directory.get(device)), asked[device].digest, envelopes[device], arrived[device]]
        for device in known
    ]
    found: dict[str, _Answer] = {}
    for device, said in zip(known, share(grid, OPEN, common, rows), strict=True):
        if said is not None:
            delta, *others, body, signature = said
            update = Update(from_bytes(delta), *others)
            receipt = update.receipt(federation.run, number, device)
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
