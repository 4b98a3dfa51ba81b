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

__all__ = ["RollCall", "discover", "wait_for"]

POLL_S = 0.25
CHALLENGE_S = 3600.0
"""How long a node may take to answer; a fleet that starts on a busy machine answers one by one."""


class RollCall:
    """Asks every node as it connects, and keeps who has answered.

    Args:
        grid: Flower's connection to the nodes.
        run: the run's id, to which challenges and answers are bound.
        coordinator: asks.
        clock: milliseconds since the epoch.
        again_s: seconds after which a node that is connected and silent is asked anew: it may have died with the
            question. None asks once.
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
        self._challenges: dict[str, bytes] = {}
        self._asked: dict[str, int] = {}

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
            Whether a node was new or answered.
        """
        now = self._clock()
        online = {str(node) for node in self._grid.get_node_ids()}
        fresh = online - self._challenges.keys()
        if self._again_ms is not None:
            late = {node for node in self._mailbox.silent & online if now - self._asked[node] > self._again_ms}
            self._challenge(late, now)
        self._challenge(fresh, now)
        answers = self._mailbox.receive()
        for node, record in answers:
            for envelope in _envelopes(record):
                device = self._device(envelope, self._challenges[node], directory)
                if device is not None:
                    self.found.setdefault(device, int(node))
        return bool(fresh or answers)

    def _challenge(self, nodes: set[str], now: int) -> None:
        if not nodes:
            return
        challenge = Challenge(self._run, secrets.token_bytes(16), now + int(CHALLENGE_S * 1000)).to_bytes()
        fields = {"challenge": challenge, "signature": self._coordinator.sign(CHALLENGE_DOMAIN, challenge)}
        self._challenges |= dict.fromkeys(nodes, challenge)
        self._asked |= dict.fromkeys(nodes, now)
        self._mailbox.send({node: (int(node), fields) for node in sorted(nodes)}, "query.identify", ttl_s=CHALLENGE_S)

    def _device(self, envelope: bytes, challenge: bytes, directory: Directory) -> str | None:
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
                    in_reply_to=hashlib.sha256(challenge).digest(),
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
        patience_s: seconds without a new node and without an answer after which the wait ends.
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
                mend="check that their nodes run the same skerry version and reach the server; their logs say more",
            )
        if wanted - call.found.keys():
            time.sleep(POLL_S)


def _envelopes(record: object) -> list[bytes]:
    values = record.get("envelopes", []) if hasattr(record, "get") else []
    return [value for value in values if isinstance(value, bytes)]
