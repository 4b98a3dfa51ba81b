"""Vectors of a device that leaves: the record, what is signed of it, and signatures by its two keys that hold."""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.security.enrolment import LeaveRequest
from skerry.security.enrolment.requests import LEAVE

from ._people import described, person

__all__ = ["make"]

_KEY = ec.derive_private_key(int.from_bytes(hashlib.sha256(b"device key").digest(), "big"), ec.SECP256R1())
_PLACES = [("harbour", bytes(range(20)), 1_800_000_000_000), ("a-z.0_9", b"\x00" * 19 + b"\x01", 0)]


def make() -> dict[str, Any]:
    """The file's content."""
    public = _KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {
        "source": "security/enrolment/requests.py",
        "device_private": f"{_KEY.private_numbers().private_value:064x}",
        "device_public": public.hex(),
        "who": described(person("phone-1")),
        "requests": [_request(*place) for place in _PLACES],
    }


def _request(federation: str, serial: bytes, issued: int) -> dict[str, Any]:
    who = person("phone-1")
    body = LeaveRequest(federation, who.name, serial, issued).encode()
    signed = bytes([len(LEAVE)]) + LEAVE + body
    return {
        "federation": federation,
        "serial": serial.hex(),
        "issued": issued,
        "body": body.hex(),
        "signed": signed.hex(),
        "by_device_key": _KEY.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True)).hex(),
        "by_message_key": who.sign(LEAVE, body).hex(),
    }
