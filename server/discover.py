"""Which node stands for which device: asked with a signed challenge, believed only when signed by the device."""

import hashlib
import secrets
import time
from collections.abc import Iterable

from flwr.serverapp import Grid

from skerry.clock import Clock
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge
from skerry.errors import EnvelopeRefusedError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Kind, open_envelope
from skerry.security.identity import Directory, Identity
from skerry.server.mailbox import Mailbox
from skerry.server.provision import coordinator_identity, device_directory

__all__ = ["discover"]

POLL_S = 0.25
CHALLENGE_S = 3600.0
"""How long a node may take to answer; a fleet that starts on a busy machine answers one by one."""


def discover(
    folder: RunFolder, grid: Grid, devices: Iterable[str], clock: Clock, *, patience_s: float
) -> dict[str, int]:
    """Ask every node, as it connects, until all wanted devices have answered.

    Args:
        folder: the run, whose coordinator asks.
        grid: Flower's connection to the nodes.
        devices: names of the devices without which the run does not begin.
        clock: milliseconds since the epoch.
        patience_s: seconds without a new node and without an answer after which the wait is given up.

    Returns:
        Node id of each device; several simulated devices may share a node.

    Raises:
        RunFailedError: nothing has happened for too long; names devices that have not answered.
    """
    wanted = set(devices)
    coordinator, directory = coordinator_identity(folder), device_directory(folder)
    mailbox = Mailbox(grid)
    challenges: dict[str, bytes] = {}
    found: dict[str, int] = {}
    moved = time.monotonic()
    while wanted - found.keys():
        fresh = {str(node) for node in grid.get_node_ids()} - challenges.keys()
        if fresh:
            challenge = Challenge(folder.id, secrets.token_bytes(16), clock() + int(CHALLENGE_S * 1000)).to_bytes()
            fields = {"challenge": challenge, "signature": coordinator.sign(CHALLENGE_DOMAIN, challenge)}
            challenges |= dict.fromkeys(fresh, challenge)
            mailbox.send({node: (int(node), fields) for node in sorted(fresh)}, "query.identify", ttl_s=CHALLENGE_S)
        answers = mailbox.receive()
        for node, record in answers:
            for envelope in _envelopes(record):
                device = _device(envelope, challenges[node], folder.id, coordinator, directory, clock())
                if device is not None:
                    found.setdefault(device, int(node))
        if fresh or answers:
            moved = time.monotonic()
        elif time.monotonic() - moved > patience_s:
            missing = sorted(wanted - found.keys())
            raise RunFailedError(
                f"{len(missing)} of {len(wanted)} devices did not answer: {', '.join(missing[:5])}",
                where=f"{len(challenges)} connected nodes, {len(mailbox)} of them silent for {patience_s:g} s",
                mend="check that their nodes run the same skerry version and reach the server; their logs say more",
            )
        if wanted - found.keys():
            time.sleep(POLL_S)
    return {device: found[device] for device in sorted(wanted)}


def _device(
    envelope: bytes, challenge: bytes, run: str, coordinator: Identity, directory: Directory, now: int
) -> str | None:
    """The device that answered the challenge; an unauthentic claim names none."""
    try:
        opened = open_envelope(
            envelope,
            me=coordinator,
            directory=directory,
            expected=Expected(
                kind=frozenset({Kind.IDENTITY}),
                receiver=coordinator.name,
                run=run,
                round=0,
                in_reply_to=hashlib.sha256(challenge).digest(),
            ),
            now=now,
            replay=None,
        )
    except EnvelopeRefusedError:
        return None
    return opened.header.sender


def _envelopes(record: object) -> list[bytes]:
    values = record.get("envelopes", []) if hasattr(record, "get") else []
    return [value for value in values if isinstance(value, bytes)]
