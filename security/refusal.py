"""Why a sealed message is turned away: stable codes for logs, counters and verdicts."""

from enum import StrEnum

__all__ = ["Refusal"]


class Refusal(StrEnum):
    """Reason of an :class:`~skerry.errors.EnvelopeRefusedError`.

    The codes from ``NOT_FOR_US`` on are given only after the signature held, so they may be charged to the
    sender that the header names. The codes before it may not: anybody on the way can cause them.
    """

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_SUITE = "unknown_suite"
    UNKNOWN_SENDER = "unknown_sender"
    NOT_AUTHENTIC = "not_authentic"
    NOT_FOR_US = "not_for_us"
    WRONG_SUITE = "wrong_suite"
    WRONG_SENDER = "wrong_sender"
    WRONG_KIND = "wrong_kind"
    WRONG_RUN = "wrong_run"
    WRONG_ROUND = "wrong_round"
    WRONG_MODEL = "wrong_model"
    WRONG_REPLY = "wrong_reply"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    NOT_SEALED_TO_US = "not_sealed_to_us"
    REPLAYED = "replayed"
    TOO_MANY = "too_many"
    REPLAY_STATE = "replay_state"
