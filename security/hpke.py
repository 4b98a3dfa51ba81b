"""Sealing to a key, by HPKE in base mode (RFC 9180): one of three key agreements, HKDF-SHA256, AES-256-GCM.

========  ==============================  ==========  ===========  =========================================
suite     key agreement                   public key  lengthens    for
========  ==============================  ==========  ===========  =========================================
x25519    DHKEM(X25519, HKDF-SHA256)      32 bytes    by 48 bytes  the default: the fastest
p256      DHKEM(P-256, HKDF-SHA256)       65 bytes    by 81 bytes  key stores and TPMs, which have P-256 only
xwing     X-Wing (ML-KEM-768 and X25519)  1216 bytes  by 1136      what must stay closed to quantum computers
========  ==============================  ==========  ===========  =========================================

A key belongs to one suite for good, and whoever seals to it uses that suite: there is nothing to negotiate, so nothing
to talk anybody down from. Base mode says nothing about who sealed: every caller signs what it seals, and binds the
context through ``info`` (single-shot sealing has no other associated data).

AES-256-GCM because WebCrypto has it and ChaCha20-Poly1305 not, and because payloads here are small enough for a
board without AES instructions.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.errors import InputError
from skerry.security.strict import check_bytes

__all__ = ["LEAST_OVERHEAD", "PRIVATE_BYTES", "KemPrivateKey", "KemPublicKey", "KemSuite"]

PRIVATE_BYTES = 32
"""Length of a private key of any suite: X25519's scalar, P-256's scalar (big-endian), X-Wing's seed."""

_TAG = 16
_MLKEM_PUBLIC = 1184
_ML_KEM_SEED = 64
_FIELD = 2**255 - 19
# https://cr.yp.to/ecdh.html#validate, modulo the prime: all points whose order divides the cofactor, of curve and twist
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
    }
)


class KemSuite(StrEnum):
    """By which key agreement a key is sealed to."""

    X25519 = "x25519"
    P256 = "p256"
    XWING = "xwing"

    @property
    def public_bytes(self) -> int:
        """Length of a public key."""
        return _PARTS[self].public_bytes

    @property
    def overhead(self) -> int:
        """Bytes by which sealing lengthens: the encapsulated key before, the tag after."""
        return _PARTS[self].suite_kem.enc_length() + _TAG


@dataclass(frozen=True, slots=True)
class KemPublicKey:
    """A key that others seal to.

    Guarantee: it is usable; a point off the curve, and an X25519 part of small order (a secret that anybody
    knows), cannot be held by this class.

    Attributes:
        suite: of the key.
        raw: X25519: 32 bytes (RFC 7748); P-256: 65 bytes, uncompressed (SEC 1); X-Wing: ML-KEM-768's 1184 bytes, then
            X25519's 32 (draft-connolly-cfrg-xwing-kem).

    Raises:
        InputError: another suite, another length, or a key that protects nothing.
    """

    suite: KemSuite
    raw: bytes
    _loaded: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.suite, KemSuite):
            raise InputError(f"the suite {self.suite!r:.40} is not one of {', '.join(KemSuite)}")
        parts = _PARTS[self.suite]
        check_bytes(self.raw, "a sealing key of that suite", parts.public_bytes)
        try:
            loaded = parts.load_public(self.raw)
            if self.suite is KemSuite.X25519:
                _check_order(self.raw)  # all that can be wrong with such a key, at a hundredth of an encryption's cost
            else:
                parts.hpke.encrypt(b"", loaded)  # the only way to have every part of it looked at
        except ValueError as error:
            raise InputError(
                "a sealing key that is malformed, off its curve or of small order protects nothing"
            ) from error
        object.__setattr__(self, "_loaded", loaded)

    def __reduce__(self) -> tuple[type["KemPublicKey"], tuple[KemSuite, bytes]]:
        return KemPublicKey, (self.suite, self.raw)  # another process checks and loads it for itself

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """``encapsulated key ‖ ciphertext ‖ tag (16)``, which only the private key opens, under the same ``info``."""
        return _PARTS[self.suite].hpke.encrypt(plaintext, self._loaded, info)


def _check_order(raw: bytes) -> None:
    coordinate = int.from_bytes(raw, "little") & (2**255 - 1)  # RFC 7748 section 5: the topmost bit is not looked at
    if coordinate % _FIELD in _SMALL_ORDER:
        raise ValueError("a point of small order")


@dataclass(frozen=True)
class KemPrivateKey:
    """The key that opens what was sealed to its public half.

    Attributes:
        suite: of the key.
        raw: :data:`PRIVATE_BYTES` bytes, never in its ``repr``.

    Raises:
        InputError: another length, or out of the curve's range.
    """

    suite: KemSuite
    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_bytes(self.raw, "a private sealing key", PRIVATE_BYTES)
        try:
            _ = self._loaded
        except ValueError:
            raise InputError("this is not a private sealing key") from None  # the cause could quote it

    @staticmethod
    def generate(suite: KemSuite = KemSuite.X25519) -> "KemPrivateKey":
        """A fresh key from the system's random generator."""
        if suite is KemSuite.P256:
            scalar = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
            return KemPrivateKey(suite, scalar.to_bytes(PRIVATE_BYTES, "big"))
        return KemPrivateKey(suite, secrets.token_bytes(PRIVATE_BYTES))

    @cached_property
    def _loaded(self) -> Any:
        return _PARTS[self.suite].load_private(self.raw)

    @cached_property
    def public(self) -> KemPublicKey:
        """The half that others seal to."""
        return KemPublicKey(self.suite, _PARTS[self.suite].public_of(self.raw))

    def open(self, sealed: bytes | memoryview, info: bytes) -> bytes | None:
        """The plaintext, or ``None`` when it was sealed to another key, under another ``info``, or was altered.

        Raises:
            KeyboardInterrupt: a signal's handler raised while a sound payload was opened, whatever it raised. What it
                raises while a forged one is looked at cannot be told from the forgery, and is lost.
        """
        hpke = _PARTS[self.suite].hpke
        try:
            return hpke.decrypt(sealed, self._loaded, info)
        except InvalidTag:
            pass
        # The library says InvalidTag of whatever is raised inside its call, also of what a signal's handler raises
        # there. A second attempt tells them apart: to open is a function of its arguments.
        try:
            hpke.decrypt(sealed, self._loaded, info)
        except InvalidTag:
            return None
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _Parts:
    """What the library calls a suite's pieces."""

    suite_kem: KEM
    public_bytes: int
    load_public: Callable[[bytes], Any]
    load_private: Callable[[bytes], Any]
    public_of: Callable[[bytes], bytes]

    @cached_property
    def hpke(self) -> Suite:
        return Suite(self.suite_kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _p256(raw: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def _p256_public(raw: bytes) -> bytes:
    return _p256(raw).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _xwing_parts(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """X-Wing's key expansion (draft-connolly-cfrg-xwing-kem, section 5.2)."""
    expanded = hashlib.shake_256(seed).digest(_ML_KEM_SEED + 32)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_ML_KEM_SEED]),
        X25519PrivateKey.from_private_bytes(expanded[_ML_KEM_SEED:]),
    )


def _xwing_public(seed: bytes) -> bytes:
    lattice, curve = _xwing_parts(seed)
    return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


_PARTS = {
    KemSuite.X25519: _Parts(
        KEM.X25519,
        32,
        X25519PublicKey.from_public_bytes,
        X25519PrivateKey.from_private_bytes,
        lambda raw: X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw(),
    ),
    KemSuite.P256: _Parts(
        KEM.P256,
        65,
        lambda raw: ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw),
        _p256,
        _p256_public,
    ),
    KemSuite.XWING: _Parts(
        KEM.MLKEM768_X25519,
        _MLKEM_PUBLIC + 32,
        lambda raw: MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
        ),
        lambda seed: MLKEM768X25519PrivateKey(*_xwing_parts(seed)),
        _xwing_public,
    ),
}

LEAST_OVERHEAD = min(suite.overhead for suite in KemSuite)
