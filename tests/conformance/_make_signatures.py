"""Vectors of signed requests (RFC 9421, our profile): what is signed, the headers, and signatures that hold."""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.errors import InputError
from skerry.security.http_signature import content_digest, read_claim, sign_request

__all__ = ["make"]

_KEY = ec.derive_private_key(int.from_bytes(hashlib.sha256(b"device key").digest(), "big"), ec.SECP256R1())
_REQUESTS = [
    ("POST", "/v1/fleet/pull-messages", b"\x0a\x02\x08\x07", "writer-00", 1_800_000_000, "AAAAAAAAAAAAAAAAAAAAAA"),
    ("GET", "/v1/blobs/" + "5e" * 32, b"", "phone:a/b@c_d.e-f", 1, "abcdefghijklmnopqrstuvwxyz-_0123456789"),
]


def make() -> dict[str, Any]:
    """The file's content."""
    public = _KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {
        "source": "security/http_signature.py",
        "private": f"{_KEY.private_numbers().private_value:064x}",
        "public": public.hex(),
        "requests": [_request(*request) for request in _REQUESTS],
        "refused": [
            {"given": {"key_id": key, "nonce": nonce, "created": at}, "why": why} for key, nonce, at, why in _refused()
        ],
    }


def _request(method: str, path: str, body: bytes, key_id: str, created: int, nonce: str) -> dict[str, Any]:
    signed: list[bytes] = []

    def sign(message: bytes) -> bytes:
        signed.append(message)
        return _KEY.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))

    headers = sign_request(method, path, body, key_id=key_id, sign=sign, created=created, nonce=nonce)
    claim = read_claim(headers["signature-input"], headers["signature"])
    assert claim.verify(_KEY.public_key(), method, path, content_digest(body))
    return {
        "method": method,
        "path": path,
        "body": body.hex(),
        "key_id": key_id,
        "created": created,
        "nonce": nonce,
        "base": signed[0].decode(),
        "headers": headers,
    }


def _refused() -> list[tuple[str, str, int, str]]:
    good = "A" * 22
    cases = [
        ("writer 00", good, 1, "a blank in the name"),
        ('w"', good, 1, "a quotation mark in the name"),
        ("", good, 1, "no name"),
        ("ü", good, 1, "a letter beyond ASCII"),
        ("w" * 129, good, 1, "a long name"),
        ("w", "A" * 21, 1, "a short nonce"),
        ("w", "A" * 65, 1, "a long nonce"),
        ("w", "=" * 22, 1, "other characters in the nonce"),
        ("w", good, 0, "no time"),
        ("w", good, 10**12, "a time far ahead"),
        ("w", good, -1, "a time before all"),
    ]
    for key_id, nonce, created, why in cases:
        try:
            sign_request("GET", "/", b"", key_id=key_id, sign=lambda _: b"", created=created, nonce=nonce)
        except InputError:
            continue
        raise AssertionError(f"not refused: {why}")
    return cases
