"""Why a release is turned away: stable codes for logs and exit messages."""

from enum import StrEnum

__all__ = ["ReleaseRefusal"]


class ReleaseRefusal(StrEnum):
    """Reason of a :class:`~skerry.errors.ReleaseRefusedError`."""

    TOO_LARGE = "too_large"
    NOT_AUTHENTIC = "not_authentic"
    MALFORMED = "malformed"
    WRONG_NAME = "wrong_name"
    ROLLBACK = "rollback"
    EQUIVOCATION = "equivocation"
    NOT_A_RECIPIENT = "not_a_recipient"
    WRAP_ALTERED = "wrap_altered"
    NOT_SEALED_TO_US = "not_sealed_to_us"
    WRONG_KEY = "wrong_key"
    BLOB_MISSING = "blob_missing"
    BLOB_ALTERED = "blob_altered"
    PLAINTEXT_ALTERED = "plaintext_altered"
    OTHER_EVIDENCE = "other_evidence"
    STATE = "version_state"
    EXPIRED = "expired"
    MIX_AND_MATCH = "mix_and_match"
    ENDLESS_DATA = "endless_data"
    WRONG_HASH = "wrong_hash"
    UNDER_SIGNED = "under_signed"
