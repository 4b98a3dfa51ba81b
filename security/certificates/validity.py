"""Times of certificates in milliseconds since the epoch, as everywhere in skerry."""

from datetime import UTC, datetime, timedelta

from cryptography import x509

__all__ = ["DAY_MS", "instant", "ms_of", "renew_at", "validity"]

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ms: int) -> datetime:
    """The moment, without the part of a second that X.509 cannot tell."""
    return _EPOCH + timedelta(seconds=ms // 1000)


def ms_of(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware moment."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def validity(certificate: x509.Certificate) -> tuple[int, int]:
    """From when and until when, in ms."""
    return ms_of(certificate.not_valid_before_utc), ms_of(certificate.not_valid_after_utc)


def renew_at(certificate: x509.Certificate) -> int:
    """When to ask for the next one: at two thirds of its life, in ms; a third is left to try again in."""
    begin, end = validity(certificate)
    return begin + (end - begin) * 2 // 3
