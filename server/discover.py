"""Which node stands for which device: asked with a signed challenge, believed only when signed by the device."""

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Iterable

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from skerry.clock import Clock
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge
from skerry.errors import EnvelopeRefusedError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Kind, open_envelope
from skerry.security.identity import Directory, Identity
from skerry.server.mailbox import Mailbox
from skerry.server.provision import coordinator_identity, device_directory

__all__ = ["RollCall", "discover", "wait_for"]

POLL_S = 0.25
_SELDOM = 4
CHALLENGE_S = 3600.0
"""How long a node may take to answer; a fleet that starts on a busy machine answers one by one."""
MOST_AT_A_NODE = 4096
"""Devices of a simulation that may share a node; no more answers of one are looked at."""


class RollCall:
    """Asks every node as it connects, and keeps who has answered.

    Args:
        grid: Flower's connection to the nodes.
        run: the run's id, to which challenges and answers are bound.
        coordinator: asks.
        clock: milliseconds since the epoch.
        again_s: seconds after which a node that is connected and stands for no device yet is asked the same again, then
            after twice and ever after four times as long: it may have died with the question, or be enrolled meanwhile.
            An answer to the first question counts whenever it comes. None asks once.
    """

    def __init__(
        self, grid: Grid, run: str, coordinator: Identity, clock: Clock, *, again_s: float | None = None
    ) -> None:
        self.found: dict[str, int] = {}
        """Node id of each device that has answered; several simulated devices may share a node."""
        self._grid = grid
        self._run = run
        self._coordinator = coordinator
        self._clock = clock
        self._again_ms = None if again_s is None else int(again_s * 1000)
        self._mailbox = Mailbox(grid)
        self._challenges: dict[str, Challenge] = {}
        self._asked: dict[str, int] = {}
        self._times: Counter[str] = Counter()
        self._known: set[str] = set()

    @property
    def asked(self) -> int:
        """How many nodes were asked."""
        return len(self._challenges)

    @property
    def silent(self) -> int:
        """How many of them have not answered."""
        return len(self._mailbox)

    def look(self, directory: Directory) -> bool:
        """Ask nodes that are new, and take the answers that have come.

        Args:
            directory: the devices that can be found.

        Returns:
            Whether a node was new, or a device that was not found before answered.
        """
        now = self._clock()
        online = {str(node) for node in self._grid.get_node_ids()}
        fresh = online - self._challenges.keys()
        self._challenge(fresh | self._late(online, now), now)
        before = len(self.found)
        for node, record in self._mailbox.receive():
            for envelope in _envelopes(record):
                device = self._device(envelope, self._challenges[node], directory)
                if device is not None:
                    self.found.setdefault(device, int(node))
                    self._known.add(node)
        return bool(fresh) or len(self.found) > before

    def _late(self, online: set[str], now: int) -> set[str]:
        """Nodes that were asked long ago and stand for no device yet."""
        if self._again_ms is None:
            return set()
        waiting = (online & self._challenges.keys()) - self._known
        return {node for node in waiting if now - self._asked[node] > self._again_ms * self._patience(node)}

    def _patience(self, node: str) -> int:
        return min(1 << (self._times[node] - 1), _SELDOM)

    def _challenge(self, nodes: set[str], now: int) -> None:
        """Ask these nodes; each the same as before, for as long as what it was asked holds well."""
        until = now + int(CHALLENGE_S * 1000)
        new = Challenge(self._run, secrets.token_bytes(16), until)
        for node in nodes:
            if node not in self._challenges or self._challenges[node].expires <= now + (self._again_ms or 0):
                self._challenges[node] = new
        self._asked |= dict.fromkeys(nodes, now)
        self._times.update(nodes)
        for challenge in {self._challenges[node] for node in nodes}:
            content = challenge.to_bytes()
            fields = {"challenge": content, "signature": self._coordinator.sign(CHALLENGE_DOMAIN, content)}
            these = sorted(node for node in nodes if self._challenges[node] == challenge)
            left_s = (challenge.expires - now) / 1000
            self._mailbox.send({node: (int(node), fields) for node in these}, "query.identify", ttl_s=left_s)

    def _device(self, envelope: bytes, challenge: Challenge, directory: Directory) -> str | None:
        """The device that answered the challenge; an unauthentic claim names none."""
        try:
            opened = open_envelope(
                envelope,
                me=self._coordinator,
                directory=directory,
                expected=Expected(
                    kind=frozenset({Kind.IDENTITY}),
                    receiver=self._coordinator.name,
                    run=self._run,
                    round=0,
                    in_reply_to=hashlib.sha256(challenge.to_bytes()).digest(),
                ),
                now=self._clock(),
                replay=None,
            )
        except EnvelopeRefusedError:
            return None
        return opened.header.sender


def discover(
    folder: RunFolder, grid: Grid, devices: Iterable[str], clock: Clock, *, patience_s: float
) -> dict[str, int]:
    """Ask every node of a simulation, as it connects, until all wanted devices have answered.

    Args:
        folder: the run, whose coordinator asks.
        grid: Flower's connection to the nodes.
        devices: names of the devices without which the run does not begin.
        clock: milliseconds since the epoch.
        patience_s: see :func:`wait_for`.

    Returns:
        Node id of each device; several simulated devices may share a node.

    Raises:
        RunFailedError: see :func:`wait_for`.
    """
    wanted = sorted(devices)
    call = RollCall(grid, folder.id, coordinator_identity(folder), clock)
    wait_for(call, device_directory(folder), wanted, patience_s=patience_s)
    return {device: call.found[device] for device in wanted}


def wait_for(
    call: RollCall, directory: Directory, wanted: Iterable[str], *, patience_s: float, at_least: int | None = None
) -> None:
    """Look until all devices have answered, or enough of them have and nothing happens any more.

    Args:
        call: looks.
        directory: the devices that can be found.
        wanted: names of devices.
        patience_s: seconds without a new node and without a new device after which the wait ends.
        at_least: how many of the devices are enough then; None: all.

    Raises:
        RunFailedError: nothing has happened for too long, and too few have answered; names devices that have not.
    """
    wanted = set(wanted)
    moved = time.monotonic()
    while wanted - call.found.keys():
        if call.look(directory):
            moved = time.monotonic()
        elif time.monotonic() - moved > patience_s:
            missing = sorted(wanted - call.found.keys())
            if at_least is not None and len(wanted) - len(missing) >= at_least:
                return
            needed = "" if at_least is None else f" ({at_least} would be enough)"
            raise RunFailedError(
                f"{len(missing)} of {len(wanted)} devices did not answer{needed}: {', '.join(missing[:5])}",
                where=f"{call.asked} connected nodes, {call.silent} of them silent for {patience_s:g} s",
                mend="check that their nodes run the same skerry version and reach the server; "
                "`skerry device status` there says why one rests",
            )
        if wanted - call.found.keys():
            time.sleep(POLL_S)


def _envelopes(record: ConfigRecord | None) -> list[bytes]:
    """What a node put where its answers belong, as far as they can be answers."""
    values = record.get("envelopes") if record is not None else None
    if not isinstance(values, list):
        return []
    return [value for value in values[:MOST_AT_A_NODE] if isinstance(value, bytes)]
