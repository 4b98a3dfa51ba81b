"""The formats, written a second time from the RFCs: what an independent implementation makes, ours opens.

The HPKE here (RFC 9180, base mode, single shot) is derived from X25519, HKDF and AEAD primitives alone and is checked
against the RFC's own vectors; the library and our envelopes and wraps are then checked against it.
"""

import hashlib
import os

import pytest
from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.canonical import encode
from skerry.security import Directory, Expected, Identity, Kind, open_envelope
from skerry.security.delivery.manifest import Contents, ReleaseFile
from skerry.security.delivery.wraps import unwrap_key, wrap_key
from skerry.security.hpke import hpke_open, hpke_seal

KEM = b"KEM" + (0x0020).to_bytes(2, "big")  # DHKEM(X25519, HKDF-SHA256)
AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = (1, 16, AESGCM), (2, 32, AESGCM), (3, 32, ChaCha20Poly1305)


def _hmac(key, data):
    mac = hmac.HMAC(key, SHA256())
    mac.update(data)
    return mac.finalize()


def _extract(salt, suite, label, ikm):
    return _hmac(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _expand(prk, suite, label, info, length):
    assert length <= 32
    return _hmac(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01")[:length]


def _schedule(dh, enc, receiver, info, aead):
    """RFC 9180, sections 4.1 (ExtractAndExpand) and 5.1 (KeySchedule) with mode 0 and no PSK."""
    number, length, _ = aead
    prk = _extract(b"", KEM, b"eae_prk", dh)
    shared = _expand(prk, KEM, b"shared_secret", enc + receiver, 32)
    suite = b"HPKE" + b"\x00\x20" + b"\x00\x01" + number.to_bytes(2, "big")
    context = b"\x00" + _extract(b"", suite, b"psk_id_hash", b"") + _extract(b"", suite, b"info_hash", info)
    secret = _extract(shared, suite, b"secret", b"")
    return shared, _expand(secret, suite, b"key", context, length), _expand(secret, suite, b"base_nonce", context, 12)


def reference_seal(plaintext, receiver, info, *, ephemeral, aead=AES_256_GCM, aad=None):
    enc = ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver))
    _, key, nonce = _schedule(dh, enc, receiver, info, aead)
    return enc + aead[2](key).encrypt(nonce, plaintext, aad)


def reference_open(sealed, private, info, *, aead=AES_256_GCM, aad=None):
    enc, ciphertext = sealed[:32], sealed[32:]
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    _, key, nonce = _schedule(dh, enc, private.public_key().public_bytes_raw(), info, aead)
    return aead[2](key).decrypt(nonce, ciphertext, aad)


INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
PLAINTEXT = b"Beauty is truth, truth beauty"
VECTORS = {
    "A.1.1": {
        "aead": AES_128_GCM,
        "skEm": "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
        "skRm": "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
        "enc": "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
        "shared_secret": "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
        "key": "4531685d41d65f03dc48f6b8302c05b0",
        "base_nonce": "56d890e5accaaf011cff4b7d",
        "ct": "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
    },
    "A.2.1": {
        "aead": CHACHA20_POLY1305,
        "skEm": "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
        "skRm": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        "enc": "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        "shared_secret": "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7",
        "key": "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91",
        "base_nonce": "5c4d98150661b848853b547f",
        "ct": "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    },
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_reference_gives_the_vectors_of_rfc_9180(name):
    vector = VECTORS[name]
    ephemeral = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skEm"]))
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skRm"]))
    receiver = private.public_key().public_bytes_raw()
    enc = bytes.fromhex(vector["enc"])
    shared, key, nonce = _schedule(
        private.exchange(X25519PublicKey.from_public_bytes(enc)), enc, receiver, INFO, vector["aead"]
    )
    assert (shared.hex(), key.hex(), nonce.hex()) == (vector["shared_secret"], vector["key"], vector["base_nonce"])
    sealed = reference_seal(
        PLAINTEXT, receiver, INFO, ephemeral=ephemeral, aead=vector["aead"], aad=b"Count-0"
    )
    assert sealed.hex() == vector["enc"] + vector["ct"]
    assert reference_open(sealed, private, INFO, aead=vector["aead"], aad=b"Count-0") == PLAINTEXT


@pytest.mark.parametrize("length", [0, 1, 32, 100_000])
def test_ours_and_the_reference_open_one_anothers(length):
    private = X25519PrivateKey.generate()
    receiver = private.public_key()
    plaintext = os.urandom(length)
    ours = hpke_seal(plaintext, receiver, INFO)
    assert reference_open(ours, private, INFO) == plaintext
    theirs = reference_seal(plaintext, receiver.public_bytes_raw(), INFO, ephemeral=X25519PrivateKey.generate())
    assert hpke_open(theirs, private, INFO) == plaintext
    assert hpke_open(theirs, private, INFO + b"x") is None
    assert hpke_open(theirs, X25519PrivateKey.generate(), INFO) is None
    assert hpke_open(theirs[:31], private, INFO) is None


def _keys(label):
    sign, seal = (hashlib.sha256(f"{label} {use}".encode()).digest() for use in ("sign", "seal"))
    return Identity(label, Ed25519PrivateKey.from_private_bytes(sign), X25519PrivateKey.from_private_bytes(seal))


def test_an_envelope_written_from_the_description_opens():
    device, coordinator = _keys("writer-00"), _keys("coordinator")
    record = {
        "suite": "x25519",
        "kind": "update",
        "run": "digits-1",
        "round": 4,
        "sender": "writer-00",
        "receiver": "coordinator",
        "model": "5e" * 32,
        "nonce": bytes(range(16)),
        "in_reply_to": hashlib.sha256(b"the instruction").digest(),
        "receipt": hashlib.sha256(b"a debit").digest(),
        "issued": 1_800_000_000_000,
        "expires": 1_800_000_600_000,
    }
    fields = encode(record)
    head = b"SKEV\x00\x01" + len(fields).to_bytes(2, "big") + fields
    ephemeral = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"ephemeral").digest())
    sealed = reference_seal(
        b"payload", coordinator.public.kem_key, b"skerry/envelope/1/seal:" + head, ephemeral=ephemeral
    )
    domain = b"skerry/envelope/1/sign"
    signed = hashlib.sha256(head + sealed).digest() + record["receipt"]
    signature = device.signing.sign(bytes([len(domain)]) + domain + signed)
    data = head + sealed + signature
    # every input is fixed, so these bytes are; an implementation in another language compares this digest
    assert hashlib.sha256(data).hexdigest() == "5cc519c6b9c47e13e7593f87495a287cd4e772d11fa19b799c892f6e7eff9036"
    opened = open_envelope(
        data,
        me=coordinator,
        directory=Directory({"writer-00": device.public}),
        expected=Expected(kind=frozenset({Kind.UPDATE}), receiver="coordinator"),
        now=1_800_000_000_001,
        replay=None,
    )
    assert opened.payload == b"payload"
    assert opened.digest == hashlib.sha256(data).digest()
    assert {**record, "kind": Kind.UPDATE, "version": 1} == opened.header.__dict__


def test_a_wrap_written_from_the_description_opens():
    publisher, device = _keys("publisher"), _keys("writer-00")
    file = {"name": "model.onnx", "size": 3, "sha256": "01" * 32, "blob": "02" * 32, "blob_size": 91}
    record = {"name": "digits", "version": 7, "run": "r", "publisher": "publisher", "created": 5}
    contents = Contents(**record, files=(ReleaseFile(**file),))
    described = encode({**record, "files": [file], "schema": 1, "suite": "x25519"})
    context = hashlib.sha256(described).digest() + b"writer-00"
    domain = b"skerry/delivery/1/wrap"
    sealed = reference_seal(
        b"k" * 32, device.public.kem_key, domain + b":" + context, ephemeral=X25519PrivateKey.generate()
    )
    wrap = sealed + publisher.signing.sign(bytes([len(domain)]) + domain + context + sealed)
    assert unwrap_key(wrap, contents, publisher=publisher.public, device=device) == b"k" * 32
    ours = wrap_key(b"k" * 32, contents, publisher=publisher, recipient=device.public)
    assert reference_open(ours[:80], device.kem, domain + b":" + context) == b"k" * 32
