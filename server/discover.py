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
from skerry.server.mailbox import exchange
from skerry.server.provision import coordinator_identity, device_directory

__all__ = ["discover"]

POLL_S = 0.25


def discover(
    folder: RunFolder, grid: Grid, devices: Iterable[str], clock: Clock, *, timeout_s: float
) -> dict[str, int]:
    """Ask every node until all wanted devices have answered.

    Returns:
        Node id of each device; several simulated devices may share a node.

    Raises:
        RunFailedError: some device did not answer in time; names them.
    """
    wanted = set(devices)
    coordinator, directory = coordinator_identity(folder), device_directory(folder)
    found: dict[str, int] = {}
    asked: set[int] = set()
    end = time.monotonic() + timeout_s
    while wanted - found.keys():
        fresh = set(grid.get_node_ids()) - asked
        if fresh:
            challenge = Challenge(folder.id, secrets.token_bytes(16), clock() + int(timeout_s * 1000)).to_bytes()
            fields = {"challenge": challenge, "signature": coordinator.sign(CHALLENGE_DOMAIN, challenge)}
            answers = exchange(
                grid,
                {str(node): (node, fields) for node in sorted(fresh)},
                "query.identify",
                deadline_s=max(1.0, end - time.monotonic()),
            )
            for node, record in answers:
                for envelope in _envelopes(record):
                    try:
                        opened = open_envelope(
                            envelope,
                            me=coordinator,
                            directory=directory,
                            expected=Expected(
                                kind=frozenset({Kind.IDENTITY}),
                                receiver=coordinator.name,
                                run=folder.id,
                                round=0,
                                in_reply_to=hashlib.sha256(challenge).digest(),
                            ),
                            now=clock(),
                            replay=None,
                        )
                    except EnvelopeRefusedError:
                        continue  # an unauthentic claim names no device
                    found.setdefault(opened.header.sender, int(node))
            asked |= fresh
        if time.monotonic() > end:
            missing = sorted(wanted - found.keys())
            raise RunFailedError(
                f"{len(missing)} of {len(wanted)} devices did not answer: {', '.join(missing[:5])}",
                where=f"{len(asked)} connected nodes",
                mend="check that their nodes run the same skerry version and reach the server",
            )
        if wanted - found.keys():
            time.sleep(POLL_S)
    return {device: found[device] for device in sorted(wanted)}


def _envelopes(record: object) -> list[bytes]:
    values = record.get("envelopes", []) if hasattr(record, "get") else []
    return [value for value in values if isinstance(value, bytes)]
