"""Readers of what a release is made of: manifests, statements, wrapped keys, encrypted files, deltas.

Behind an encryption nothing but its tag is reached by changing bytes. So *inside* of some of them is what somebody may
have sealed who holds the content key: a publisher's own bytes, which a device reads all the same.
"""

import base64
import hashlib
import io
import json
from pathlib import Path

import zstandard
from _fuzzing import ACCEPTED, Target, reason_of
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from skerry.canonical import encode
from skerry.errors import InputError, ReleaseRefusedError
from skerry.security import Identity
from skerry.security.aead import Cipher
from skerry.security.delivery import Manifest, ReleaseFile, ReleaseRefusal
from skerry.security.delivery.bins import _info, _record, names_in, open_wrap, read_index, write_bins
from skerry.security.delivery.client.device import _Way, _write
from skerry.security.delivery.delta import apply_delta, make_delta
from skerry.security.delivery.manifest import Delta
from skerry.security.delivery.repository.describing import Provenance, read_statement, statement
from skerry.security.delivery.stream import _FIXED, CHUNK, _derive, _nonce, blob_bytes, decrypt, encrypt
from skerry.security.delivery.verifying import MANIFEST_DOMAIN, read_manifest

KEY = b"k" * 32
SALT = bytes(32)


def manifests(folder: Path) -> Target:
    """A release's manifest beside its signature; inside: any bytes that the publisher signed."""
    publisher = Identity.generate("publisher")
    seeds = [a_manifest(version).to_bytes() for version in (1, 2)]

    def sign(data: bytes) -> bytes:
        return publisher.sign(MANIFEST_DOMAIN, data) + data

    signed = [sign(one) for one in seeds]

    def read(data: bytes) -> str:
        (folder / "manifest.sig").write_bytes(data[:64])
        (folder / "manifest.cbor").write_bytes(data[64:])

        def call() -> str:
            return "as_signed" if read_manifest(folder, publisher.public).to_bytes() == data[64:] else ACCEPTED

        return reason_of(call)

    codes = frozenset({*ReleaseRefusal, "as_signed"})
    return Target("manifests", signed, seeds, sign, read, codes)


def a_manifest(version: int) -> Manifest:
    files = tuple(
        ReleaseFile(name=name, size=size, sha256="1" * 64, blob="2" * 64, blob_size=blob_bytes(size))
        for name, size in (("a", 0), ("b.onnx", 5_000_000))
    )
    return Manifest(
        name="digits", version=version, run="run", publisher="publisher", created=5, wraps="0" * 64, files=files
    )


def wraps(folder: Path) -> Target:
    """The list of bins, or a bin: what it gives is a canonical list or the content key, to nobody but its device.

    Its names are read too: as they are written, or not at all.
    """
    ann, key, manifest = Identity.generate("ann"), b"k" * 32, a_manifest(1)
    index = (folder / write_bins(folder, key, manifest, [ann.public, Identity.generate("bob").public])).read_bytes()
    seeds = [index, *((folder / name).read_bytes() for name in read_index(index))]

    def opened(data: bytes) -> str:
        names = names_in(data)
        if names != sorted(set(names)):
            return ACCEPTED
        return "as_signed" if open_wrap(data, manifest, ann) == key else ACCEPTED

    def read(data: bytes) -> str:
        try:
            return "as_said" if encode({"bins": read_index(data)}) == data else ACCEPTED
        except ReleaseRefusedError:
            return reason_of(lambda: opened(data))

    return Target("wraps", seeds, seeds, lambda data: data, read, frozenset({*ReleaseRefusal, "as_said", "as_signed"}))


def wrapped_keys() -> Target:
    """What a wrap holds, rightly sealed for the device: a content key, or nothing that is taken for one."""
    ann, manifest = Identity.generate("ann"), a_manifest(1)

    def sign(data: bytes) -> bytes:
        return _record(b"ann", ann.public.encapsulation_key.seal(data, _info(manifest, "ann")))

    def read(data: bytes) -> str:
        return reason_of(lambda: "as_signed" if len(open_wrap(data, manifest, ann)) == len(KEY) else ACCEPTED)

    return Target("wrapped keys", [sign(KEY)], [KEY], sign, read, frozenset({*ReleaseRefusal, "as_signed"}))


def blobs() -> Target:
    """An encrypted file: it decrypts to what was encrypted, or not at all."""
    plain, key, seeds = [b"", b"p" * 3000], bytes(32), []
    for content in plain:
        sealed = io.BytesIO()
        encrypt(io.BytesIO(content), sealed, key, salt=bytes(32))
        seeds.append(sealed.getvalue())

    def read(data: bytes) -> str:
        def call() -> str:
            decrypt(io.BytesIO(data), opened := io.BytesIO(), key)
            return "as_signed" if data in seeds and opened.getvalue() in plain else ACCEPTED

        return reason_of(call)

    return Target("blobs", seeds, seeds, lambda data: data, read, frozenset({*ReleaseRefusal, "as_signed"}))


def chunks() -> Target:
    """Chunks that are rightly encrypted, in any number, order and length: only the one chunking of a file opens.

    Inside, three bytes are a chunk: its length (255 is a full one), its number, and whether it says to be the last.
    """
    keyed, commitment, prefix = _derive(KEY, SALT, Cipher.AES_256_GCM)
    header = _FIXED[Cipher.AES_256_GCM] + SALT + commitment
    full = bytes(range(256)) * (CHUNK // 256)

    def sign(data: bytes) -> bytes:
        parts = [header]
        for at in range(0, min(len(data) - 2, 12), 3):
            plain = full if data[at] == 255 else full[: data[at]]
            parts.append(keyed.encrypt(_nonce(prefix, data[at + 1], bool(data[at + 2] % 2)), plain, header))
        return b"".join(parts)

    def read(data: bytes) -> str:
        def call() -> str:
            decrypt(io.BytesIO(data), opened := io.BytesIO(), KEY)
            encrypt(io.BytesIO(opened.getvalue()), again := io.BytesIO(), KEY, salt=SALT)
            return "as_said" if again.getvalue() == data else ACCEPTED

        return reason_of(call)

    inside = [bytes([0, 0, 1]), bytes([7, 0, 1]), bytes([255, 0, 0, 255, 1, 0, 9, 2, 1])]
    codes = frozenset({*ReleaseRefusal, "as_said"})
    return Target("chunks", [sign(one) for one in inside], inside, sign, read, codes)


def deltas(folder: Path) -> Target:
    """A delta: nothing but a file of the size that was signed comes of it, whose digest the caller compares."""
    old, new, delta = folder / "old", folder / "new", folder / "delta"
    old.write_bytes(bytes(range(256)) * 16)
    new.write_bytes(b"new" + old.read_bytes()[3:])
    make_delta(old, new, delta)
    seeds, size = [delta.read_bytes()], new.stat().st_size

    def read(data: bytes) -> str:
        def call() -> str:
            digest = apply_delta(io.BytesIO(data), old, made := io.BytesIO(), size)
            whole = made.getvalue()
            return "as_said" if len(whole) == size and hashlib.sha256(whole).hexdigest() == digest else ACCEPTED

        return reason_of(call)

    return Target("deltas", seeds, seeds, lambda data: data, read, frozenset({*ReleaseRefusal, "as_said"}))


def sealed_deltas(folder: Path) -> Target:
    """A delta as a device gets it, rightly encrypted and named in the manifest: the file that was signed comes of it.

    Inside, the first byte says whether the rest is the delta itself, or what it would decompress to.
    """
    base, new, plain = folder / "base", folder / "new-of-base", folder / "its-delta"
    base.write_bytes(bytes(range(256)) * 16)
    content = b"new" + base.read_bytes()[3:] + b"longer"
    new.write_bytes(content)
    make_delta(base, new, plain)
    packed = plain.read_bytes()
    loose = zstandard.ZstdDecompressor().stream_reader(packed[1:]).read()
    named = ReleaseFile(
        name="m", size=len(content), sha256=hashlib.sha256(content).hexdigest(), blob="2" * 64,
        blob_size=blob_bytes(len(content)),
    )  # fmt: skip
    made = folder / "made"
    made.mkdir()

    def sign(data: bytes) -> bytes:
        width, rest = data[1:2], data[2:]
        delta = data[1:] if data[:1] == b"\0" else width + zstandard.ZstdCompressor().compress(rest)
        encrypt(io.BytesIO(delta), sealed := io.BytesIO(), KEY, salt=SALT)
        return sealed.getvalue()

    def read(data: bytes) -> str:
        blob = folder / "blob"
        blob.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        size = max(len(data) - blob_bytes(0), 0)
        try:
            delta = Delta(file="m", base="3" * 64, size=size, blob=digest, blob_size=len(data))
        except InputError:
            return ReleaseRefusal.MALFORMED  # no manifest can name it

        def call() -> str:
            _write(made, _Way(named, delta, base), blob, KEY, Cipher.AES_256_GCM)
            return "as_signed" if (made / "m").read_bytes() == content else ACCEPTED

        return reason_of(call)

    inside = [b"\0" + packed, b"\1" + packed[:1] + loose]
    return Target(
        "sealed deltas", [sign(one) for one in inside], inside, sign, read, frozenset({*ReleaseRefusal, "as_signed"})
    )


def statements() -> Target:
    """A release's statement under DSSE; inside: any payload that the model's key signed."""
    signer, manifest, claim = CryptoSigner.generate_ed25519(), a_manifest(1), Provenance(run="run")
    seeds = [statement(manifest, claim, signer)]
    said = [base64.b64decode(json.loads(one)["payload"]) for one in seeds]

    def sign(data: bytes) -> bytes:
        envelope = Envelope(data, "application/vnd.in-toto+json", {})
        envelope.sign(signer)
        return json.dumps(envelope.to_dict()).encode()

    def read(data: bytes) -> str:
        def call() -> str:
            read_statement(data, manifest, [signer.public_key])
            return "as_signed"  # by the key, of that release: what else it says is the signer's own word

        return reason_of(call)

    return Target("statements", seeds, said, sign, read, frozenset({*ReleaseRefusal, "as_signed"}))
