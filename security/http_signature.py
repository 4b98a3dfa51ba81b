"""Requests signed by a device: one strict profile of HTTP Message Signatures (RFC 9421) with Content-Digest (RFC 9530).

The signature covers the method, the path and the whole body, when it was made, a nonce, and who made it. It is ECDSA
P-256 over SHA-256 in the raw form r‖s, which WebCrypto makes from a key that never leaves the browser; so a page signs
exactly as a native device does.

The profile has one spelling: covered components and parameters, their order and their encoding are fixed, and anything
else is refused. A reader therefore needs no parser of structured fields, and no two texts mean the same signature.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.errors import InputError

__all__ = ["Claimed", "Signer", "content_digest", "read_claim", "sign_request", "signature_base", "verify_raw"]

Signer = Callable[[bytes], bytes]
"""ECDSA P-256 over the SHA-256 of the message, DER as key stores give it."""

_TAG = "skerry-gateway"
_LABEL = "skerry"
_COVERED = '("@method" "@path" "content-digest")'
_PARAMETERS = re.compile(
    re.escape(_COVERED)
    + r";created=(?P<created>[1-9][0-9]{0,11})"
    + r';nonce="(?P<nonce>[A-Za-z0-9_-]{22,64})"'
    + r';keyid="(?P<key_id>[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127})"'
    + rf';alg="ecdsa-p256-sha256";tag="{_TAG}"'
)
_COORDINATE = 32


@dataclass(frozen=True)
class Claimed:
    """What a request says about who signed it and when; nothing of it is known to be true before :meth:`verify`.

    Attributes:
        key_id: name of the device whose key is said to have signed.
        created: seconds since the epoch by the device's clock.
        nonce: 22 to 64 characters, never used twice by a device.
        signature: 64 bytes, r‖s.
    """

    key_id: str
    created: int
    nonce: str
    signature: bytes
    _parameters: str

    def verify(self, key: EllipticCurvePublicKey, method: str, path: str, digest: str) -> bool:
        """Whether ``key`` signed this method, path and body digest with these parameters."""
        return verify_raw(key, self.signature, _base(method, path, digest, self._parameters))


def content_digest(body: bytes) -> str:
    """The ``content-digest`` of a body (RFC 9530, sha-256)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sign_request(
    method: str, path: str, body: bytes, *, key_id: str, sign: Signer, created: int, nonce: str
) -> dict[str, str]:
    """The three headers that make a request one of device ``key_id``.

    Args:
        method: upper case.
        path: without query; the gateway takes no query.
        body: the whole body; empty for a ``GET``.
        key_id: the device's name.
        sign: with the device's key.
        created: seconds since the epoch.
        nonce: fresh, for example ``secrets.token_urlsafe(16)``.

    Raises:
        InputError: the name or the nonce has characters that the profile does not allow.
    """
    parameters = f'{_COVERED};created={created};nonce="{nonce}";keyid="{key_id}";alg="ecdsa-p256-sha256";tag="{_TAG}"'
    if not _PARAMETERS.fullmatch(parameters):
        raise InputError("the device's name or the nonce cannot stand in a signed request", where=key_id)
    digest = content_digest(body)
    r, s = decode_dss_signature(sign(_base(method, path, digest, parameters)))
    raw = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return {
        "content-digest": digest,
        "signature-input": f"{_LABEL}={parameters}",
        "signature": f"{_LABEL}=:{base64.b64encode(raw).decode()}:",
    }


def read_claim(signature_input: str, signature: str) -> Claimed:
    """Read the two signature headers of a request.

    Raises:
        InputError: not of the profile.
    """
    label, _, parameters = signature_input.partition("=")
    found = _PARAMETERS.fullmatch(parameters)
    raw = _read_bytes(signature)
    if label != _LABEL or found is None or len(raw) != 2 * _COORDINATE:
        raise InputError("the request's signature is not of the profile", mend="see docs/gateway.md")
    return Claimed(found["key_id"], int(found["created"]), found["nonce"], raw, parameters)


def signature_base(components: Mapping[str, str], parameters: str) -> bytes:
    """What is signed (RFC 9421, section 2.5): a line for each covered component, then the parameters."""
    lines = [f'"{name}": {value}' for name, value in components.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def verify_raw(key: EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (r‖s, 64 bytes) is ``key``'s over ``message``: RFC 9421, section 3.3.4."""
    if not isinstance(key.curve, SECP256R1) or len(signature) != 2 * _COORDINATE:
        return False
    r, s = (int.from_bytes(part, "big") for part in (signature[:_COORDINATE], signature[_COORDINATE:]))
    try:
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _base(method: str, path: str, digest: str, parameters: str) -> bytes:
    return signature_base({"@method": method, "@path": path, "content-digest": digest}, parameters)


def _read_bytes(text: str) -> bytes:
    start, end = f"{_LABEL}=:", ":"
    if not (text.startswith(start) and text.endswith(end)):
        return b""
    try:
        return base64.b64decode(text[len(start) : -len(end)], validate=True)
    except (binascii.Error, ValueError):
        return b""
