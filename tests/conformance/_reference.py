"""HPKE written a second time, from RFC 9180 and the X-Wing draft: key agreements, HKDF and AEADs alone.

Base mode, single shot. Shared secrets come from the library's primitives; what is derived from them, and how, is here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AEADS = {1: (16, AESGCM), 2: (32, AESGCM), 3: (32, ChaCha20Poly1305)}  # number → key bytes, library's class
KEMS = {"x25519": 0x0020, "p256": 0x0010, "xwing": 0x647A}
ENC_BYTES = {0x0020: 32, 0x0010: 65, 0x647A: 1120}


def vectors(name: str) -> Any:
    """One of the files in this folder."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Schedule:
    """What a sender and a receiver derive."""

    shared_secret: bytes
    key: bytes
    base_nonce: bytes


def schedule(kem: int, aead: int, encapsulated: tuple[bytes, bytes, bytes], info: bytes) -> Schedule:
    """RFC 9180, section 5.1 (KeySchedule) with mode 0 and no PSK; ``encapsulated`` is (secret, enc, public key)."""
    secret, enc, receiver = encapsulated
    shared = secret if kem == KEMS["xwing"] else _extract_and_expand(kem, secret, enc + receiver)
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x01" + aead.to_bytes(2, "big")
    context = b"\x00" + _extract(b"", suite, b"psk_id_hash", b"") + _extract(b"", suite, b"info_hash", info)
    prk = _extract(shared, suite, b"secret", b"")
    return Schedule(
        shared, _expand(prk, suite, b"key", context, AEADS[aead][0]), _expand(prk, suite, b"base_nonce", context, 12)
    )


def decapsulate(kem: int, enc: bytes, private: bytes) -> tuple[bytes, bytes, bytes]:
    """The agreed secret, the encapsulated key, and the receiver's public key."""
    if kem == KEMS["x25519"]:
        key = X25519PrivateKey.from_private_bytes(private)
        return key.exchange(X25519PublicKey.from_public_bytes(enc)), enc, key.public_key().public_bytes_raw()
    if kem == KEMS["p256"]:
        scalar = _p256(private)
        return scalar.exchange(ec.ECDH(), _p256_point(enc)), enc, _encoded(scalar)
    lattice, curve = _xwing(private)
    ephemeral = enc[1088:]
    return (
        _combined(lattice.decapsulate(enc[:1088]), _dh(curve, ephemeral), ephemeral, curve),
        enc,
        lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw(),
    )


def encapsulate(kem: int, receiver: bytes, ephemeral_key: bytes | None = None) -> tuple[bytes, bytes, bytes]:
    """A fresh secret (of a given key, but for X-Wing), the encapsulated key, and the receiver's public key."""
    if kem == KEMS["x25519"]:
        key = X25519PrivateKey.from_private_bytes(ephemeral_key) if ephemeral_key else X25519PrivateKey.generate()
        return _dh(key, receiver), key.public_key().public_bytes_raw(), receiver
    if kem == KEMS["p256"]:
        scalar = _p256(ephemeral_key) if ephemeral_key else ec.generate_private_key(ec.SECP256R1())
        return scalar.exchange(ec.ECDH(), _p256_point(receiver)), _encoded(scalar), receiver
    lattice, curve = MLKEM768PublicKey.from_public_bytes(receiver[:1184]), receiver[1184:]
    secret, ciphertext = lattice.encapsulate()
    key = X25519PrivateKey.generate()
    ephemeral = key.public_key().public_bytes_raw()
    return _combine(secret, _dh(key, curve), ephemeral, curve), ciphertext + ephemeral, receiver


def seal(kem: int, plaintext: bytes, receiver: bytes, info: bytes, *, ephemeral: bytes | None = None) -> bytes:
    """What a sender sends, by AES-256-GCM."""
    encapsulated = encapsulate(kem, receiver, ephemeral)
    made = schedule(kem, 2, encapsulated, info)
    return encapsulated[1] + AESGCM(made.key).encrypt(made.base_nonce, plaintext, None)


def unseal(kem: int, sealed: bytes, private: bytes, info: bytes, *, aead: int = 2, aad: bytes | None = None) -> bytes:
    """What the receiver reads."""
    length = ENC_BYTES[kem]
    made = schedule(kem, aead, decapsulate(kem, sealed[:length], private), info)
    return AEADS[aead][1](made.key).decrypt(made.base_nonce, sealed[length:], aad)


def _hmac(key: bytes, data: bytes) -> bytes:
    mac = hmac.HMAC(key, SHA256())
    mac.update(data)
    return mac.finalize()


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return _hmac(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    assert length <= 32
    return _hmac(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01")[:length]


def _extract_and_expand(kem: int, dh: bytes, context: bytes) -> bytes:
    """RFC 9180, section 4.1."""
    suite = b"KEM" + kem.to_bytes(2, "big")
    return _expand(_extract(b"", suite, b"eae_prk", dh), suite, b"shared_secret", context, 32)


def _dh(private: X25519PrivateKey, public: bytes) -> bytes:
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def _p256(private: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())


def _p256_point(encoded: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)


def _encoded(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _xwing(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def _combined(lattice: bytes, dh: bytes, ephemeral: bytes, curve: X25519PrivateKey) -> bytes:
    return _combine(lattice, dh, ephemeral, curve.public_key().public_bytes_raw())


def _combine(lattice: bytes, dh: bytes, ephemeral: bytes, receiver: bytes) -> bytes:
    """X-Wing's combiner (draft-connolly-cfrg-xwing-kem, section 5.3)."""
    return hashlib.sha3_256(lattice + dh + ephemeral + receiver + b"\\.//^\\").digest()
