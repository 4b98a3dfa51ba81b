"""What a device seals in reply to an instruction: bound to it, signed, and for the coordinator alone."""

import secrets
from typing import Final

from skerry.device.worker import Resident
from skerry.security.envelope import Header, Kind, Opened, seal

__all__ = ["REPLY_LIFETIME_MS", "sealed_reply"]

REPLY_LIFETIME_MS: Final = 10 * 60 * 1000


def sealed_reply(
    kind: Kind, payload: bytes, opened: Opened, resident: Resident, *, now: int, receipt: bytes = b""
) -> bytes:
    """The envelope of a reply.

    Args:
        kind: UPDATE or REFUSAL.
        payload: what it says.
        opened: the instruction.
        resident: the device.
        now: ms since the epoch.
        receipt: digest of what is signed beside it; empty where there is none.
    """
    asked = opened.header
    header = Header(
        suite=resident.coordinator.suite,
        kind=kind,
        run=asked.run,
        round=asked.round,
        sender=resident.home.device,
        receiver=asked.sender,
        model=asked.model,
        nonce=secrets.token_bytes(16),
        in_reply_to=opened.digest,
        receipt=receipt,
        issued=now,
        expires=now + REPLY_LIFETIME_MS,
    )
    return seal(header, payload, sender=resident.identity, receiver=resident.coordinator)
