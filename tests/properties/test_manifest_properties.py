"""Whatever the bytes: a release is what its publisher signed, or is refused with a reason; no name leads astray."""

import io
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skerry.canonical import encode
from skerry.errors import InputError, ReleaseRefusedError
from skerry.security import Identity
from skerry.security.delivery import Manifest, ReleaseFile, ReleaseRefusal
from skerry.security.delivery.bins import open_wrap
from skerry.security.delivery.stream import HEADER_BYTES, blob_bytes, decrypt, encrypt
from skerry.security.delivery.verifying import MANIFEST_DOMAIN, read_manifest
from skerry.security.strict import MAX_INTEGER, check_name

PUBLISHER, ANN = Identity.generate("publisher"), Identity.generate("ann")
MANIFEST = Manifest(
    name="digits",
    version=3,
    run="run",
    publisher="publisher",
    created=5,
    wraps="0" * 64,
    files=tuple(
        ReleaseFile(name=name, size=size, sha256="1" * 64, blob="2" * 64, blob_size=blob_bytes(size))
        for name, size in (("a", 0), ("b.onnx", 5_000_000))
    ),
)
SIGNED = MANIFEST.to_bytes()
SIGNATURE = PUBLISHER.sign(MANIFEST_DOMAIN, SIGNED)
_WRAP = ANN.public.encapsulation_key.seal(b"k" * 32, b"skerry/delivery/1/bin:" + MANIFEST.content_digest + b"ann")
BIN = b"\x03ann" + len(_WRAP).to_bytes(2, "big") + _WRAP
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("release")


def read(folder, manifest, signature):
    (folder / "manifest.cbor").write_bytes(manifest)
    (folder / "manifest.sig").write_bytes(signature)
    return read_manifest(folder, PUBLISHER.public)


def changed(data, changes):
    bad = bytearray(data)
    for position, mask in changes:
        bad[position % len(bad)] ^= mask
    assume(bytes(bad) != data)
    return bytes(bad)


NESTED = ("files.0", "files.0.name", "files.1.size", "files.1.blob_size", "files.0.blob")
CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4)


def test_the_good_one_is_good(folder):
    assert read(folder, SIGNED, SIGNATURE) == MANIFEST


@settings(deadline=None, max_examples=100)
@given(st.one_of(CHANGES.map(lambda c: (c, None)), CHANGES.map(lambda c: (None, c))))
def test_a_changed_manifest_or_signature_is_refused(folder, changes):
    first, second = changes
    manifest = changed(SIGNED, first) if first else SIGNED
    signature = changed(SIGNATURE, second) if second else SIGNATURE
    with pytest.raises(ReleaseRefusedError) as caught:
        read(folder, manifest, signature)
    assert caught.value.reason == ReleaseRefusal.NOT_AUTHENTIC


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=300), VALUES.map(encode)))
def test_any_signed_bytes_are_refused_or_read(folder, data):
    with pytest.raises(ReleaseRefusedError) as caught:
        read(folder, data, PUBLISHER.sign(MANIFEST_DOMAIN, data))
    assert caught.value.reason == ReleaseRefusal.MALFORMED


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([*MANIFEST.to_json(), *NESTED]), VALUES)
def test_any_value_in_a_signed_field_is_accepted_only_in_its_own_form(folder, where, value):
    record = MANIFEST.to_json()
    target = record
    *path, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for part in path:
        target = target[part]
    target[last] = value
    data = encode(record)
    try:
        got = read(folder, data, PUBLISHER.sign(MANIFEST_DOMAIN, data)).to_bytes()
    except ReleaseRefusedError as error:
        got = error.reason
    assert got in {data, ReleaseRefusal.MALFORMED, ReleaseRefusal.NOT_AUTHENTIC}


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=140), st.text(alphabet="./\\a\0 ~", max_size=8)))
def test_an_accepted_name_is_one_file_in_the_folder(name):
    try:
        check_name(name, "name")
    except InputError:
        return
    inside = Path("/folder") / name
    assert inside.parent == Path("/folder")
    assert inside.name == name
    assert ".." not in inside.parts
    assert len(name.encode()) <= 128


@settings(max_examples=100)
@given(st.integers(1, MAX_INTEGER), st.integers(0, MAX_INTEGER), st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_a_manifest_is_read_back_as_written(version, created, names):
    files = tuple(
        ReleaseFile(name=n, size=7, sha256="1" * 64, blob="2" * 64, blob_size=blob_bytes(7)) for n in sorted(names)
    )
    manifest = Manifest(name="m", version=version, run="r", publisher="p", created=created, files=files, wraps="3" * 64)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        CHANGES.map(lambda c: changed(BIN, c)),
        st.binary(max_size=200),
        st.integers(0, len(BIN) - 1).map(lambda n: BIN[:n]),
    )
)
def test_any_other_bin_is_refused(data):
    with pytest.raises(ReleaseRefusedError) as caught:
        open_wrap(data, MANIFEST, ANN)
    assert caught.value.reason in {"malformed", "not_a_recipient", "not_sealed_to_us"}


def _blob(plaintext):
    target = io.BytesIO()
    encrypt(io.BytesIO(plaintext), target, b"k" * 32, salt=b"s" * 32)
    return target.getvalue()


BLOB = _blob(b"weights" * 50)


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        CHANGES.map(lambda c: changed(BLOB, c)),
        st.binary(max_size=400),
        st.binary(max_size=400).map(lambda tail: BLOB[:HEADER_BYTES] + tail),
        st.binary(min_size=1, max_size=400).map(lambda tail: BLOB + tail),
        st.integers(0, len(BLOB) - 1).map(lambda n: BLOB[:n]),
    )
)
def test_any_other_blob_is_refused(blob):
    with pytest.raises(ReleaseRefusedError) as caught:
        decrypt(io.BytesIO(blob), io.BytesIO(), b"k" * 32)
    assert caught.value.reason in {ReleaseRefusal.BLOB_ALTERED, ReleaseRefusal.WRONG_KEY}
