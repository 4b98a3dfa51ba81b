"""A call of the agent that did not do what it was for, and what to do about it."""

from enum import StrEnum

from skerry.errors import RunFailedError

__all__ = ["CallFailedError", "Fault"]


class Fault(StrEnum):
    """What kind of failure it is; each is met differently."""

    UNREACHABLE = "unreachable"
    """Nobody answers, or the server says that it cannot now: ask again later."""

    UNKNOWN = "unknown"
    """The gateway does not let this device in: not enrolled there, revoked, or its certificate has expired."""

    WRONG_CLOCK = "wrong_clock"
    """The request is of another time than the gateway's."""

    NOT_REGISTERED = "not_registered"
    """The SuperLink does not know this node (any more): join again."""

    STILL_ONLINE = "still_online"
    """The SuperLink takes the node for online: it was ended without a word and may join a little later."""

    GONE = "gone"
    """The run or the message is over; what belongs to it can be dropped."""


class CallFailedError(RunFailedError):
    """A call failed; the agent goes on.

    Args:
        fault: what kind of failure.
        what: for people.
        where: path of the call.
        retry_after_s: how long the server asks to wait; 0 where it does not say.
    """

    def __init__(self, fault: Fault, what: str, *, where: str | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(what, where=where)
        self.fault = fault
        self.retry_after_s = retry_after_s
