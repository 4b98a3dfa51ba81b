"""Envelopes and wraps written a second time from their descriptions: what others make by them, ours opens."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.canonical import encode
from skerry.security import Directory, Expected, Identity, Kind, open_envelope
from skerry.security.delivery.bins import open_wrap, read_index, write_bins
from skerry.security.delivery.manifest import Contents, ReleaseFile
from skerry.security.hpke import KemPrivateKey, KemSuite

from ._reference import KEMS, seal, unseal

SUITES = list(KemSuite)


def _keys(label, suite):
    sign = hashlib.sha256(f"{label} sign".encode()).digest()
    kem = hashlib.sha256(f"{label} seal".encode()).digest()
    return Identity(label, Ed25519PrivateKey.from_private_bytes(sign), KemPrivateKey(suite, kem))


@pytest.mark.parametrize("suite", SUITES)
def test_an_envelope_written_from_the_description_opens(suite):
    device, coordinator = _keys("writer-00", KemSuite.X25519), _keys("coordinator", suite)
    record = {
        "suite": suite.value,
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
    ephemeral = hashlib.sha256(b"ephemeral").digest()
    info = b"skerry/envelope/1/seal:" + head
    sealed = seal(KEMS[suite], b"payload", coordinator.public.kem_key, info, ephemeral=ephemeral)
    domain = b"skerry/envelope/1/sign"
    signed = hashlib.sha256(head + sealed).digest() + record["receipt"]
    data = head + sealed + device.signing.sign(bytes([len(domain)]) + domain + signed)
    if suite is KemSuite.X25519:
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
    assert {**record, "kind": Kind.UPDATE, "suite": suite, "version": 1} == opened.header.__dict__


@pytest.mark.parametrize("suite", SUITES)
def test_a_wrap_written_from_the_description_opens(suite, tmp_path):
    device = _keys("writer-00", suite)
    file = {"name": "model.onnx", "size": 3, "sha256": "01" * 32, "blob": "02" * 32, "blob_size": 91}
    record = {"name": "digits", "version": 7, "run": "r", "publisher": "publisher", "created": 5}
    contents = Contents(**record, files=(ReleaseFile(**file),))
    described = encode({**record, "cipher": "aes-256-gcm", "files": [file], "deltas": [], "schema": 1})
    info = b"skerry/delivery/1/bin:" + hashlib.sha256(described).digest() + b"writer-00"
    sealed = seal(KEMS[suite], b"k" * 32, device.public.kem_key, info)
    record = b"\x09writer-00" + len(sealed).to_bytes(2, "big") + sealed
    assert open_wrap(record, contents, device) == b"k" * 32
    index = read_index((tmp_path / write_bins(tmp_path, b"k" * 32, contents, [device.public])).read_bytes())
    ours = (tmp_path / index[0]).read_bytes()
    assert ours[:12] == record[:12]
    assert unseal(KEMS[suite], ours[12:], device.kem.raw, info) == b"k" * 32
