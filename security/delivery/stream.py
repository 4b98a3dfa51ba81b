"""Files encrypted chunk by chunk in constant memory: the STREAM construction with a committing header.

A blob is a 72-byte header and then chunks::

    fixed: "SKBL" (4) ‖ version 1 (1) ‖ cipher (1) ‖ log2 of the chunk size (1) ‖ 0 (1)
    ‖ salt (32) ‖ commitment (32)
    chunk i = AEAD(key; nonce = prefix (7) ‖ i (4, big-endian) ‖ 1 if last else 0 (1); header as associated data)
    key (32) ‖ commitment (32) ‖ prefix (7) = HKDF-SHA256(content key, salt, info = domain ‖ fixed)

Ciphers are 1, AES-256-GCM, and 2, ChaCha20-Poly1305. A reader names the one that the signed manifest says, and opens
no other; key and commitment are derived for one cipher, so that none opens what another has sealed.
Every chunk but the last is full, and the last is empty only in an empty file, so a plaintext has one chunking.
A chunk that was dropped, doubled, moved, cut off or appended meets another nonce than it was made with and fails.
Neither cipher commits to its key: one ciphertext can be built that opens under two keys to two contents. The
commitment is compared before anything is decrypted, which leaves only collisions of SHA-256.

Chunks are released as they are decrypted, so a reader keeps them aside until :func:`decrypt` returns.

References: Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (CRYPTO 2015), STREAM; Albertini et al., "How to Abuse and Fix Authenticated Encryption Without
Key Commitment" (USENIX Security 2022); RFC 5869.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from skerry.errors import ReleaseRefusedError
from skerry.security.aead import Cipher
from skerry.security.delivery.refusal import ReleaseRefusal

__all__ = ["BATCH", "CHUNK", "HEADER_BYTES", "TAG", "Streamed", "blob_bytes", "decrypt", "encrypt", "seal_batches"]


class Target(Protocol):
    """A file open for writing, or what behaves like one."""

    def write(self, data: bytes | memoryview, /) -> int:
        """All of it; how many bytes."""


class Source(Protocol):
    """A file open for reading, or what behaves like one."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """The same, into a buffer; how many."""


CHUNK = 1 << 18
"""256 KiB of plaintext: AES-GCM runs at full speed from here on, and 256 KiB is nothing for a Pi."""
BATCH = 8 * CHUNK
"""What is hashed, encrypted and written at once: threads that wait for each other at every chunk lose a tenth."""
TAG = 16
_FIXED = {c: struct.pack(">4sBBBB", b"SKBL", 1, c.number, CHUNK.bit_length() - 1, 0) for c in Cipher}
HEADER_BYTES = 8 + 32 + 32
_DOMAIN = b"skerry/delivery/1/blob"


@dataclass(frozen=True)
class Streamed:
    """What went through: lengths in bytes and SHA-256 in hexadecimal of the plaintext and of the blob."""

    size: int
    sha256: str
    blob_size: int
    blob: str


def blob_bytes(size: int) -> int:
    """Length of the blob of a plaintext of ``size`` bytes."""
    return HEADER_BYTES + size + TAG * max(1, -(-size // CHUNK))


def encrypt(
    source: Source, target: Target, key: bytes, *, salt: bytes, cipher: Cipher = Cipher.AES_256_GCM
) -> Streamed:
    """Encrypt to the end of ``source``, which a second thread reads and hashes ahead; 8 MiB of memory.

    Each digest takes several times as long as the encryption, so on two cores all of it takes as long as one of them.

    Args:
        source: plaintext.
        target: receives the blob.
        key: content key, 32 bytes.
        salt: 32 random bytes, never used twice with one content key.
        cipher: of the chunks.
    """
    plain, blob = hashlib.sha256(), hashlib.sha256()
    size = 0

    def take(buffer: bytearray) -> memoryview:
        taken = memoryview(buffer)[: _fill(source, buffer)]
        plain.update(taken)
        return taken

    with ThreadPoolExecutor(1, thread_name_prefix="digest") as beside:
        for batch, sealed in seal_batches(_taken_ahead(take, beside), key, salt=salt, cipher=cipher):
            blob.update(sealed)
            target.write(sealed)
            size += len(batch)
    return Streamed(size, plain.hexdigest(), blob_bytes(size), blob.hexdigest())


def seal_batches(
    batches: Iterable[tuple[memoryview, bool]], key: bytes, *, salt: bytes, cipher: Cipher = Cipher.AES_256_GCM
) -> Iterator[tuple[memoryview, memoryview]]:
    """Plaintext and sealed bytes, batch after batch; the header comes first and stands for no plaintext.

    Both are valid until the next pair is asked for.

    Args:
        batches: plaintext, each with whether it is the last: of :data:`BATCH` bytes, the last one of as many or fewer.
        key: as of :func:`encrypt`.
        salt: as of :func:`encrypt`.
        cipher: of the chunks.
    """
    keyed, commitment, prefix = _derive(key, salt, cipher)
    header = _FIXED[cipher] + salt + commitment
    yield memoryview(b""), memoryview(header)
    room = memoryview(bytearray(BATCH // CHUNK * (CHUNK + TAG)))
    counter = 0
    for batch, final in batches:
        end = 0
        for start in range(0, max(1, len(batch)), CHUNK):  # an empty file has one chunk, an empty one
            chunk = batch[start : start + CHUNK]
            begin, end = end, end + len(chunk) + TAG
            last = final and start + CHUNK >= len(batch)
            keyed.encrypt_into(_nonce(prefix, counter, last), chunk, header, room[begin:end])
            counter += 1
        yield batch, room[:end]


def decrypt(source: Source, target: Target, key: bytes, *, cipher: Cipher = Cipher.AES_256_GCM) -> Streamed:
    """Decrypt to the end of ``source``; what ``target`` got counts only when this returns.

    Raises:
        ReleaseRefusedError: not a blob of ours, of another cipher, or altered (``blob_altered``), or of another key
            (``wrong_key``).
    """
    header = source.read(HEADER_BYTES)
    if len(header) != HEADER_BYTES or not header.startswith(_FIXED[cipher]):
        raise _altered(f"it does not begin as our blobs under {cipher} do")
    salt, claimed = header[-64:-32], header[-32:]
    keyed, commitment, prefix = _derive(key, salt, cipher)
    if not hmac.compare_digest(commitment, claimed):
        raise ReleaseRefusedError(ReleaseRefusal.WRONG_KEY, "the blob was not made with this content key")
    plain, blob = hashlib.sha256(), hashlib.sha256(header)
    size, blob_size = 0, HEADER_BYTES
    room = memoryview(bytearray(CHUNK))
    for counter, (sealed, last) in enumerate(_chunks(source, CHUNK + TAG)):
        length = len(sealed) - TAG
        if length < 0 or (length == 0 and counter > 0):
            raise _altered("it ends inside a chunk")
        chunk = room[:length]
        try:
            keyed.decrypt_into(_nonce(prefix, counter, last), sealed, header, chunk)
        except InvalidTag:
            raise _altered(f"chunk {counter} does not authenticate") from None
        plain.update(chunk)
        blob.update(sealed)
        target.write(chunk)
        size += length
        blob_size += len(sealed)
    return Streamed(size, plain.hexdigest(), blob_size, blob.hexdigest())


def _derive(key: bytes, salt: bytes, cipher: Cipher) -> tuple[AESGCM | ChaCha20Poly1305, bytes, bytes]:
    material = HKDF(SHA256(), 32 + 32 + 7, salt, _DOMAIN + _FIXED[cipher]).derive(key)
    return cipher.keyed(material[:32]), material[32:64], material[64:]


def _nonce(prefix: bytes, counter: int, last: bool) -> bytes:
    return prefix + struct.pack(">IB", counter, last)


def _taken_ahead(take: Callable[[bytearray], memoryview], beside: Executor) -> Iterator[tuple[memoryview, bool]]:
    """What ``take`` puts into buffers until one is not full, each with whether it is the last.

    None but the first is empty. While one is in use the next is there, which tells whether it is the last, and the one
    after is being taken.
    """
    buffers = cycle(bytearray(BATCH) for _ in range(3))

    def go_on(after: memoryview) -> Future[memoryview] | None:
        return beside.submit(take, next(buffers)) if len(after) == BATCH else None

    batch = take(next(buffers))
    coming = go_on(batch)
    while True:
        following = coming.result() if coming else memoryview(b"")
        coming = go_on(following)
        yield batch, not following
        if not following:
            return
        batch = following


def _chunks(source: Source, size: int) -> Iterator[tuple[memoryview, bool]]:
    """Full chunks and then the rest, each with whether it is the last; a chunk is valid until the next is asked for."""
    here, ahead = bytearray(size), bytearray(size)
    length = _fill(source, here)
    while True:
        following = _fill(source, ahead) if length == size else 0
        yield memoryview(here)[:length], following == 0
        if following == 0:
            return
        here, ahead, length = ahead, here, following


def _fill(source: Source, buffer: bytearray) -> int:
    """Read until the buffer is full or the file ends (one read may give less)."""
    filled, view = 0, memoryview(buffer)
    while filled < len(buffer) and (length := source.readinto(view[filled:])):
        filled += length
    return filled


def _altered(how: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        ReleaseRefusal.BLOB_ALTERED, f"a blob was altered or cut off: {how}", mend="fetch the release again"
    )
