"""Vectors of sealing by the suites that WebCrypto has, the sender's one-time key given; and keys that are refused."""

from typing import Any

from skerry.errors import InputError
from skerry.security.hpke import KemPublicKey, KemSuite

from ._people import ephemeral, person
from ._reference import KEMS, seal, vectors

__all__ = ["make"]

_SUITES = (KemSuite.X25519, KemSuite.P256)
_TEXTS = {"": b"", "aa" * 32: b"\x00\x01", "66": bytes(range(256)) * 4}  # info in hex, plaintext


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "security/hpke.py, sealed by tests/conformance/_reference.py",
        "sealed": [_sealed(suite, info, text) for suite in _SUITES for info, text in _TEXTS.items()],
        "unopened": [case for suite in _SUITES for case in _unopened(suite)],
        "unusable": [{"suite": suite.value, "given": raw.hex(), "why": why} for suite, raw, why in _unusable()],
    }


def _sealed(suite: KemSuite, info: str, plaintext: bytes) -> dict[str, Any]:
    receiver, once = person("receiver", suite).kem, ephemeral(suite, info)
    sealed = seal(KEMS[suite], plaintext, receiver.public.raw, bytes.fromhex(info), ephemeral=once.raw)
    assert receiver.open(sealed, bytes.fromhex(info)) == plaintext
    return {
        "suite": suite.value,
        "private": receiver.raw.hex(),
        "public": receiver.public.raw.hex(),
        "ephemeral_private": once.raw.hex(),
        "ephemeral_public": once.public.raw.hex(),
        "info": info,
        "plaintext": plaintext.hex(),
        "sealed": sealed.hex(),
    }


def _unopened(suite: KemSuite) -> list[dict[str, Any]]:
    case = _sealed(suite, "66", b"payload")
    sealed = bytes.fromhex(case["sealed"])
    enc = len(sealed) - len(b"payload") - 16
    changed = {
        f"byte {at} changed": sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        for at in (0, 1, enc - 1, enc, len(sealed) - 17, len(sealed) - 1)
    } | {f"cut to {length}": sealed[:length] for length in (0, 16, enc - 1, enc, enc + 15, len(sealed) - 1)}
    me = person("receiver", suite).kem
    for why, data in changed.items():
        assert me.open(data, b"f") is None, why
    keys = {name: case[name] for name in ("suite", "private", "public", "info")}
    return [{**keys, "given": data.hex(), "why": why} for why, data in changed.items()]


def _unusable() -> list[tuple[KemSuite, bytes, str]]:
    point = person("receiver", KemSuite.P256).kem.public.raw
    broken = [
        (KemSuite.X25519, bytes.fromhex(raw), "small order")
        for raw in vectors("wycheproof")["x25519_zero_shared_secret"]
    ]
    broken += [
        (KemSuite.X25519, bytes(31), "too short"),
        (KemSuite.P256, point[:-1] + bytes([point[-1] ^ 1]), "off the curve"),
        (KemSuite.P256, bytes([2 + (point[64] & 1)]) + point[1:33], "compressed"),
        (KemSuite.P256, bytes(65), "zeros"),
        (KemSuite.P256, b"\x04" + bytes(64), "the origin"),
    ]
    for suite, raw, why in broken:
        try:
            KemPublicKey(suite, raw)
        except InputError:
            continue
        raise AssertionError(f"usable: {why}")
    return broken
