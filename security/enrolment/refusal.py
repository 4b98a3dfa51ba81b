"""Why somebody is not enrolled: stable codes for logs, answers and exit codes."""

from enum import StrEnum

from skerry.errors import RefusedError

__all__ = ["EnrolmentRefusal", "EnrolmentRefusedError"]


class EnrolmentRefusal(StrEnum):
    """Reason of an :class:`EnrolmentRefusedError`."""

    MALFORMED = "malformed"
    UNKNOWN_INVITE = "unknown_invite"
    INVITE_EXPIRED = "invite_expired"
    INVITE_USED = "invite_used"
    WRONG_CLASS = "wrong_class"
    WRONG_FEDERATION = "wrong_federation"
    WRONG_CLOCK = "wrong_clock"
    STALE_CHALLENGE = "stale_challenge"
    NOT_AUTHENTIC = "not_authentic"
    NAME_TAKEN = "name_taken"
    IDENTITY_TAKEN = "identity_taken"
    IDENTITY_IN_USE = "identity_in_use"
    UNKNOWN_DEVICE = "unknown_device"
    DENIED = "denied"
    REVOKED = "revoked"
    EXPIRED = "expired"
    OLD_KEY = "old_key"


class EnrolmentRefusedError(RefusedError):
    """The desk turns a request away, or a device the desk's answer; ``reason`` is an :class:`EnrolmentRefusal`."""

    def __init__(
        self, reason: EnrolmentRefusal, what: str, *, where: str | None = None, mend: str | None = None
    ) -> None:
        super().__init__(reason.value, what, where=where, mend=mend)
