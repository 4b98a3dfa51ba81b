"""Which answers are on their way through the gateway, so that it is known when one has come whole.

A device that lost the SuperLink's word on what it had announced, since its power or its page went away meanwhile, says
the same again. The SuperLink would take that for nothing: it forgets what an answer is for as soon as the coordinator
has heard of the answer, and then says that it lacks no part, while the coordinator waits for all of them. So the device
gets the same word again from here, as long as the coordinator may wait.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from skerry.server.engines.flwr_calls import FleetClaim, announced_parts, part_was_stored, still_missing

__all__ = ["Uploads"]

_DEVICES = 4096
_LONGEST = 32 << 10  # of the SuperLink's answer, which lists parts of 5 MiB; a device has one such list at a time
_WAITED_FOR_S = 60.0  # by the coordinator, from when it has heard; the SuperLink keeps a session for three minutes


@dataclass
class _Upload:
    reply: str
    session: str
    missing: set[str]
    answer: bytes
    until: float


class Uploads:
    """The session in which each device uploads an answer: its last one. The oldest are forgotten.

    Args:
        monotonic: clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._under_way: OrderedDict[str, _Upload] = OrderedDict()

    def again(self, device: str, call: str, claim: FleetClaim) -> bytes | None:
        """The SuperLink's word on an answer that is announced once more before all of it has come; None elsewhere."""
        one = self._under_way.get(device)
        if call != "push-messages" or one is None or not claim.reply or claim.reply != one.reply:
            return None
        return still_missing(one.answer, one.missing) if self._monotonic() < one.until else None

    def complete(self, device: str, call: str, claim: FleetClaim, answer: bytes) -> bool:
        """Whether an answer is whole with this call, which the SuperLink has taken.

        One of which the beginning was not seen, as the gateway was started anew, or which has too many parts to
        remember, is called so with each part that the SuperLink has stored.
        """
        if call == "push-messages":
            session, parts = announced_parts(answer)
            self._under_way.pop(device, None)
            if parts and len(answer) <= _LONGEST:
                until = self._monotonic() + _WAITED_FOR_S
                self._under_way[device] = _Upload(claim.reply, session, set(parts), answer, until)
                while len(self._under_way) > _DEVICES:
                    self._under_way.popitem(last=False)
            return not parts
        if call != "push-object" or not part_was_stored(answer):
            return False
        one = self._under_way.get(device)
        if one is None or one.session != claim.session:
            return True
        one.missing.discard(claim.part)
        if not one.missing:
            self._under_way.pop(device, None)
        return not one.missing
