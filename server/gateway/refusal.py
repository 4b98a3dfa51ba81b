"""Why the gateway turns a request away: stable codes, each with its HTTP status."""

from enum import StrEnum

from skerry.errors import RefusedError

__all__ = ["GatewayRefusal", "TurnedAwayError", "turned_away_by_desk"]


class GatewayRefusal(StrEnum):
    """Reason of a :class:`TurnedAwayError`; it stands in the answer's JSON."""

    BAD_TARGET = "bad_target"
    NO_SUCH_PLACE = "no_such_place"
    BAD_METHOD = "bad_method"
    NO_LENGTH = "no_length"
    TOO_LARGE = "too_large"
    BODY_INCOMPLETE = "body_incomplete"
    TOO_SLOW = "too_slow"
    NOT_SIGNED = "not_signed"
    NOT_AUTHENTIC = "not_authentic"
    WRONG_CLOCK = "wrong_clock"
    REPLAYED = "replayed"
    MALFORMED = "malformed"
    WRONG_ROLE = "wrong_role"
    OTHER_NODE = "other_node"
    TOO_MANY = "too_many"
    BUSY = "busy"
    BAD_RANGE = "bad_range"
    SUPERLINK_DOWN = "superlink_down"
    SUPERLINK_SLOW = "superlink_slow"
    ENROLMENT_REFUSED = "enrolment_refused"
    SERVER_FAILED = "server_failed"
    NOT_SIGNED_IN = "not_signed_in"
    BAD_LINK = "bad_link"
    SIGN_IN_REFUSED = "sign_in_refused"
    OTHER_ORIGIN = "other_origin"
    CSRF = "csrf"


_STATUS = {
    GatewayRefusal.BAD_TARGET: 400,
    GatewayRefusal.NO_SUCH_PLACE: 404,
    GatewayRefusal.BAD_METHOD: 405,
    GatewayRefusal.NO_LENGTH: 411,
    GatewayRefusal.TOO_LARGE: 413,
    GatewayRefusal.BODY_INCOMPLETE: 400,
    GatewayRefusal.TOO_SLOW: 408,
    GatewayRefusal.NOT_SIGNED: 401,
    GatewayRefusal.NOT_AUTHENTIC: 401,
    GatewayRefusal.WRONG_CLOCK: 401,
    GatewayRefusal.REPLAYED: 401,
    GatewayRefusal.MALFORMED: 400,
    GatewayRefusal.WRONG_ROLE: 403,
    GatewayRefusal.OTHER_NODE: 403,
    GatewayRefusal.TOO_MANY: 429,
    GatewayRefusal.BUSY: 503,
    GatewayRefusal.BAD_RANGE: 416,
    GatewayRefusal.SUPERLINK_DOWN: 502,
    GatewayRefusal.SUPERLINK_SLOW: 504,
    GatewayRefusal.ENROLMENT_REFUSED: 403,
    GatewayRefusal.SERVER_FAILED: 503,
    GatewayRefusal.NOT_SIGNED_IN: 401,
    GatewayRefusal.BAD_LINK: 403,
    GatewayRefusal.SIGN_IN_REFUSED: 403,
    GatewayRefusal.OTHER_ORIGIN: 403,
    GatewayRefusal.CSRF: 403,
}


class TurnedAwayError(RefusedError):
    """A request was refused; ``retry_after_s`` is when it is worth trying again."""

    def __init__(self, reason: GatewayRefusal, what: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason, what)
        self.status = _STATUS[reason]
        self.retry_after_s = retry_after_s


def turned_away_by_desk(error: RefusedError) -> TurnedAwayError:
    """The enrolment desk's refusal as an answer, under the desk's own code."""
    turned = TurnedAwayError(GatewayRefusal.ENROLMENT_REFUSED, error.what)
    turned.reason = error.reason
    return turned
