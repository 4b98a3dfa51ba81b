"""Which answers are on their way through the gateway, so that it is known when one has come whole."""

from collections import OrderedDict

from skerry.server.engines.flwr_adapter import FleetClaim, announced_parts

__all__ = ["Uploads"]

_MOST = 4096


class Uploads:
    """Sessions in which answers are uploaded; the oldest are forgotten."""

    def __init__(self) -> None:
        self._missing: OrderedDict[str, set[str]] = OrderedDict()

    def complete(self, call: str, claim: FleetClaim, answer: bytes) -> bool:
        """Whether an answer is whole with this call, which the SuperLink has taken.

        One of which the beginning was not seen, as the gateway was started anew, is called so once too often.
        """
        if call == "push-messages":
            session, parts = announced_parts(answer)
            if parts:
                self._missing[session] = set(parts)
                while len(self._missing) > _MOST:
                    self._missing.popitem(last=False)
            return not parts
        if call != "push-object":
            return False
        missing = self._missing.get(claim.session, set())
        missing.discard(claim.part)
        if not missing:
            self._missing.pop(claim.session, None)
        return not missing
