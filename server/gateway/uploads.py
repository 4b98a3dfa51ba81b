"""Which answers are on their way through the gateway, so that it is known when one has come whole."""

from collections import OrderedDict

from skerry.server.engines.flwr_adapter import FleetClaim, announced_parts, part_was_stored

__all__ = ["Uploads"]

_DEVICES = 4096
_LONGEST = 32 << 10  # of the SuperLink's answer, which lists parts of 5 MiB; a device has one such list at a time


class Uploads:
    """The session in which each device uploads an answer: its last one. The oldest are forgotten."""

    def __init__(self) -> None:
        self._missing: OrderedDict[str, tuple[str, set[str]]] = OrderedDict()

    def complete(self, device: str, call: str, claim: FleetClaim, answer: bytes) -> bool:
        """Whether an answer is whole with this call, which the SuperLink has taken.

        One of which the beginning was not seen, as the gateway was started anew, or which has too many parts to
        remember, is called so with each part that the SuperLink has stored.
        """
        if call == "push-messages":
            session, parts = announced_parts(answer)
            self._missing.pop(device, None)
            if parts and len(answer) <= _LONGEST:
                self._missing[device] = session, set(parts)
                while len(self._missing) > _DEVICES:
                    self._missing.popitem(last=False)
            return not parts
        if call != "push-object" or not part_was_stored(answer):
            return False
        session, missing = self._missing.get(device, ("", set()))
        if session != claim.session:
            return True
        missing.discard(claim.part)
        if not missing:
            self._missing.pop(device, None)
        return not missing
