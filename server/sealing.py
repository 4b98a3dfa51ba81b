"""The sealing of a round's instructions: here, or shared out among the processes of a simulation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2

from skerry.security.envelope import Header, Kind, seal_named
from skerry.security.identity import Identity, PublicIdentity
from skerry.server.chores import helpers, identity_of, keys_of, public_keys_of, public_of, share
from skerry.server.federation import Federation

__all__ = ["SEAL", "Addressed", "seal_instructions", "seal_part"]

SEAL = "seal"
"""The chore's name."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """An instruction for one device: its nonce, the digest of the device's last receipt, or none, and the words."""

    device: str
    nonce: bytes
    receipt: bytes
    words: bytes


def seal_instructions(
    federation: Federation, number: int, to: Sequence[Addressed], *, issued: int, expires: int
) -> Iterator[Sequence[bytes]]:
    """For each instruction of a round, in their order, its envelope, signed by the coordinator, and that one's digest.

    Args:
        federation: the run.
        number: of the round.
        to: whom it is for.
        issued: ms since the epoch.
        expires: ms since the epoch.
    """
    said = [federation.run, number, federation.model.digest, issued, expires]
    words = list({one.words: None for one in to})  # nearly always the same for all
    receivers = [federation.directory.get(one.device) for one in to]
    grid = helpers(federation, len(to), sum(map(len, words)))
    if grid is None:
        for one, receiver in zip(to, receivers, strict=True):
            yield _sealed(federation.coordinator, receiver, said, one.nonce, one.receipt, one.words)
        return
    common = [keys_of(federation.coordinator), said, words]
    place = {one: index for index, one in enumerate(words)}
    rows = [
        [public_keys_of(receiver), one.nonce, one.receipt, place[one.words]]
        for one, receiver in zip(to, receivers, strict=True)
    ]
    yield from share(grid, SEAL, common, rows)


def seal_part(part: bytes) -> bytes:
    """The chore: some of the instructions."""
    (keys, said, words), rows = cbor2.loads(part)
    sender = identity_of(keys)
    return cbor2.dumps(
        [
            _sealed(sender, public_of(receiver), said, nonce, receipt, words[place])
            for receiver, nonce, receipt, place in rows
        ]
    )


def _sealed(
    sender: Identity, receiver: PublicIdentity, said: Sequence[Any], nonce: bytes, receipt: bytes, words: bytes
) -> tuple[bytes, bytes]:
    run, number, model, issued, expires = said
    header = Header(
        suite=receiver.suite,
        kind=Kind.INSTRUCTION,
        run=run,
        round=number,
        sender=sender.name,
        receiver=receiver.name,
        model=model,
        nonce=nonce,
        in_reply_to=b"",
        receipt=receipt,
        issued=issued,
        expires=expires,
    )
    return seal_named(header, words, sender=sender, receiver=receiver)
