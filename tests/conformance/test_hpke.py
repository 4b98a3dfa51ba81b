"""Sealing is RFC 9180's: by the published vectors, by a second implementation of it, and by what Wycheproof breaks."""

import os

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke as library
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.errors import InputError
from skerry.security import Identity, PublicIdentity
from skerry.security.hpke import KemPrivateKey, KemPublicKey, KemSuite

from ._reference import ENC_BYTES, KEMS, decapsulate, schedule, seal, unseal, vectors

PUBLISHED = vectors("hpke")["vectors"]
BROKEN = vectors("wycheproof")
INFO = b"Ode on a Grecian Urn"
SUITES = list(KemSuite)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_reference_gives_the_published_vectors(name):
    vector = {key: bytes.fromhex(v) if isinstance(v, str) else v for key, v in PUBLISHED[name].items()}
    kem, aead, info = vector["kem_id"], vector["aead_id"], vector["info"]
    encapsulated = decapsulate(kem, vector["enc"], vector["skRm"])
    assert encapsulated[2] == vector["pkRm"]
    made = schedule(kem, aead, encapsulated, info)
    assert (made.shared_secret, made.key) == (vector["shared_secret"], vector["key"])
    assert made.base_nonce == vector["base_nonce"]
    sealed = vector["enc"] + vector["ct"]
    assert unseal(kem, sealed, vector["skRm"], info, aead=aead, aad=vector["aad"]) == vector["pt"]
    with pytest.raises(InvalidTag):
        unseal(kem, sealed, vector["skRm"], info, aead=aead, aad=vector["aad"] + b"x")


@pytest.mark.parametrize("name", PUBLISHED)
def test_our_keys_are_the_published_ones(name):
    vector = PUBLISHED[name]
    (suite,) = [suite for suite in SUITES if KEMS[suite] == vector["kem_id"]]
    assert KemPrivateKey(suite, bytes.fromhex(vector["skRm"])).public.raw.hex() == vector["pkRm"]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("length", [0, 1, 32, 100_000])
def test_ours_and_the_reference_open_one_anothers(suite, length):
    private, plaintext = KemPrivateKey.generate(suite), os.urandom(length)
    ours = private.public.seal(plaintext, INFO)
    assert len(ours) == length + suite.overhead == length + ENC_BYTES[KEMS[suite]] + 16
    assert unseal(KEMS[suite], ours, private.raw, INFO) == plaintext
    assert private.open(seal(KEMS[suite], plaintext, private.public.raw, INFO), INFO) == plaintext


@pytest.mark.parametrize("suite", SUITES)
def test_what_was_altered_or_is_anothers_does_not_open(suite):
    private = KemPrivateKey.generate(suite)
    sealed = private.public.seal(b"payload", INFO)
    assert private.open(sealed, INFO) == b"payload"
    assert private.open(sealed, INFO + b"x") is None
    assert KemPrivateKey.generate(suite).open(sealed, INFO) is None
    enc = len(sealed) - 7 - 16
    for position in (0, 1, enc // 2, enc - 1, enc, len(sealed) - 17, len(sealed) - 16, len(sealed) - 1):
        bad = bytearray(sealed)
        bad[position] ^= 0x80 if position else 1  # X25519 passes over the top bit of the last byte; HPKE must not
        assert private.open(bytes(bad), INFO) is None, position
    for length in (0, 1, 16, enc - 1, enc, enc + 15, len(sealed) - 1):
        assert private.open(sealed[:length], INFO) is None, length
    assert private.open(sealed + b"\0", INFO) is None


def test_a_key_of_one_suite_opens_nothing_of_another():
    for ours in SUITES:
        private = KemPrivateKey.generate(ours)
        for other in SUITES:
            if other is not ours:
                assert private.open(KemPrivateKey.generate(other).public.seal(b"payload", INFO), INFO) is None


def test_other_ciphers_and_hashes_of_the_same_agreement_do_not_open():
    private = KemPrivateKey.generate()
    for kdf, aead in (
        ("HKDF_SHA512", "AES_256_GCM"),
        ("HKDF_SHA256", "AES_128_GCM"),
        ("HKDF_SHA256", "CHACHA20_POLY1305"),
    ):
        suite = library.Suite(library.KEM.X25519, getattr(library.KDF, kdf), getattr(library.AEAD, aead))
        sealed = suite.encrypt(b"payload", private.public._loaded, INFO)
        assert private.open(sealed, INFO) is None


@pytest.mark.parametrize("point", BROKEN["x25519_zero_shared_secret"])
def test_a_point_of_small_order_is_no_key_and_opens_nothing(point):
    """All of them give the shared secret zero, which anybody knows."""
    raw = bytes.fromhex(point)
    with pytest.raises(InputError, match="small order"):
        KemPublicKey(KemSuite.X25519, raw)
    with pytest.raises(InputError, match="small order"):
        KemPublicKey(KemSuite.XWING, KemPrivateKey.generate(KemSuite.XWING).public.raw[:1184] + raw)
    with pytest.raises(InputError):
        PublicIdentity("eve", Identity.generate("eve").public.signing_key, raw)
    private = KemPrivateKey.generate()
    made = schedule(KEMS["x25519"], 2, (bytes(32), raw, private.public.raw), INFO)
    forged = raw + AESGCM(made.key).encrypt(made.base_nonce, b"forged", None)
    assert private.open(forged, INFO) is None


@pytest.mark.parametrize("case", BROKEN["p256_invalid_points"], ids=lambda case: case["comment"])
def test_a_point_off_the_curve_is_no_key_and_opens_nothing(case):
    raw = bytes.fromhex(case["public"])
    with pytest.raises(InputError):
        KemPublicKey(KemSuite.P256, raw)
    private = KemPrivateKey.generate(KemSuite.P256)
    assert private.open(raw + bytes(16 + 7), INFO) is None
    assert private.open(raw.ljust(65, b"\0")[:65] + bytes(16 + 7), INFO) is None


def test_a_compressed_point_is_no_key():
    raw = KemPrivateKey.generate(KemSuite.P256).public.raw
    for bad in (b"\x02" + raw[1:33], b"\x03" + raw[1:], b"\x06" + raw[1:], b"\x07" + raw[1:], b"\0", bytes(65)):
        with pytest.raises(InputError):
            KemPublicKey(KemSuite.P256, bad)


@pytest.mark.parametrize("key", BROKEN["mlkem768_modulus_overflow"])
def test_a_lattice_key_beyond_its_modulus_is_no_key(key):
    with pytest.raises(InputError):
        KemPublicKey(KemSuite.XWING, bytes.fromhex(key) + KemPrivateKey.generate().public.raw)


def test_what_is_no_private_key_is_refused_without_being_quoted():
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for suite, raw in (
        (KemSuite.P256, bytes(32)),
        (KemSuite.P256, order.to_bytes(32, "big")),
        (KemSuite.X25519, bytes(31)),
        (KemSuite.XWING, bytes(96)),
    ):
        with pytest.raises(InputError) as caught:
            KemPrivateKey(suite, raw)
        assert raw.hex()[:8] not in str(caught.value)
    assert KemPrivateKey.generate().raw.hex() not in repr(KemPrivateKey.generate())


@pytest.mark.parametrize("case", BROKEN["ed25519_invalid_signatures"], ids=lambda case: case["comment"])
def test_a_signature_that_is_malformed_or_malleable_does_not_verify(case):
    signer = PublicIdentity("signer", bytes.fromhex(case["pk"]), KemPrivateKey.generate().public.raw)
    with pytest.raises(InvalidSignature):
        signer.verifying_key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
