"""Signs of life of devices that wait at the bell, told to the SuperLink in their name where they are due.

Nobody waits for them, so that they leave the SuperLink to those who want something of it: a few are under way at once,
in places of their own, which no round can fill; one more is left for the device's next wait. But a node whose reply is
there and that is called offline has not replied. So one that was late for that reason gets its turn, however much there
is to do.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_idle import sign_of_life
from skerry.server.gateway.idle import PROMISED_S, Idle
from skerry.server.gateway.refusal import TurnedAwayError
from skerry.server.gateway.superlink import Superlink, ask_superlink
from skerry.server.gateway.superlink_line import Answered

__all__ = ["BREATH", "Breaths"]

BREATH = "send-node-heartbeat"
"""The call that a sign of life is."""

_AT_ONCE = 2  # 30 a second want a SuperLink that answers within 60 ms; a slower one is told of the late ones only
_LONGEST = 16 << 10


@dataclass(frozen=True)
class _Breath:
    device: EnrolledDevice
    headers: Mapping[str, str]
    since: float


class Breaths:
    """One for a gateway, on its event loop.

    Args:
        superlink: on loopback.
        idle: knows who has to be told of, and hears what was promised.
        longest_s: seconds for an answer of the SuperLink, and for which one that waits for its turn is still true.
        answered: is told of the SuperLink's answers: whose, its node, and what.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        superlink: Superlink,
        idle: Idle,
        longest_s: float,
        answered: Callable[[EnrolledDevice, int, Answered], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._superlink = superlink
        self._idle = idle
        self._longest_s = longest_s
        self._answered = answered
        self._monotonic = monotonic
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._late: OrderedDict[int, _Breath] = OrderedDict()

    def came(self, device: EnrolledDevice, node_id: int, headers: Mapping[str, str]) -> None:
        """A device has come to wait: tell the SuperLink that it is there, where it has to be told so now.

        Where that fails, the device comes again soon.
        """
        if "flwr-signature" not in headers or node_id in self._under_way or not self._idle.breathes(node_id):
            return
        breath = _Breath(device, headers, self._monotonic())
        if len(self._under_way) < _AT_ONCE:
            self._begin(node_id, breath)
        elif self._idle.late(node_id):
            self._late[node_id] = breath  # where it waits already, in its old place

    async def left(self, node_id: int) -> None:
        """A device is about to say goodbye: wait until nothing is under way that would bring it back."""
        while (breath := self._under_way.get(node_id)) is not None:
            await asyncio.wait([breath])

    def _begin(self, node_id: int, breath: _Breath) -> None:
        task = asyncio.create_task(self._tell(node_id, breath))
        self._under_way[node_id] = task
        task.add_done_callback(lambda _: self._ended(node_id))

    def _ended(self, node_id: int) -> None:
        del self._under_way[node_id]
        while self._late and len(self._under_way) < _AT_ONCE:
            next_id, breath = self._late.popitem(last=False)
            stale = self._monotonic() - breath.since > self._longest_s
            if not stale and self._idle.breathes(next_id):
                self._begin(next_id, breath)

    async def _tell(self, node_id: int, breath: _Breath) -> None:
        body = self._idle.sent(BREATH, node_id, sign_of_life(node_id, PROMISED_S))
        with suppress(TimeoutError, ConnectionError, TurnedAwayError):
            async with asyncio.timeout(self._longest_s):
                answer = await ask_superlink(self._superlink, BREATH, body, breath.device, breath.headers, _LONGEST)
            self._answered(breath.device, node_id, answer)
