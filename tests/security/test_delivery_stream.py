"""Promises of encrypted blobs: whole or refused, one key, constant memory."""

import hashlib
import io
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from skerry.errors import ReleaseRefusedError
from skerry.security.aead import Cipher
from skerry.security.delivery import ReleaseRefusal
from skerry.security.delivery.stream import BATCH, CHUNK, HEADER_BYTES, TAG, blob_bytes, decrypt, encrypt

KEY, SALT = b"k" * 32, b"s" * 32
STEP = CHUNK + TAG
AES, CHACHA = Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305
FIXED = {AES: b"SKBL\x01\x01\x12\x00", CHACHA: b"SKBL\x01\x02\x12\x00"}


def blob_of(plaintext, key=KEY, salt=SALT, cipher=AES):
    target = io.BytesIO()
    encrypt(io.BytesIO(plaintext), target, key, salt=salt, cipher=cipher)
    return target.getvalue()


def plaintext_of(blob, key=KEY, cipher=AES):
    target = io.BytesIO()
    decrypt(io.BytesIO(blob), target, key, cipher=cipher)
    return target.getvalue()


def reason(blob, key=KEY, cipher=AES):
    with pytest.raises(ReleaseRefusedError) as caught:
        plaintext_of(blob, key, cipher)
    return caught.value.reason


def derived(key, cipher=AES):
    return HKDF(SHA256(), 71, SALT, b"skerry/delivery/1/blob" + FIXED[cipher]).derive(key)


class Slow(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, data):
        self.inner = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.inner.read(min(len(buffer), 70_001))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_a_blob_gives_back_its_plaintext_and_says_what_went_through(size, cipher):
    plaintext = os.urandom(size)
    target = io.BytesIO()
    done = encrypt(Slow(plaintext), target, KEY, salt=SALT, cipher=cipher)
    blob = target.getvalue()
    assert (done.size, done.sha256) == (size, hashlib.sha256(plaintext).hexdigest())
    assert (done.blob_size, done.blob) == (len(blob), hashlib.sha256(blob).hexdigest())
    assert done.blob_size == blob_bytes(size)
    target = io.BytesIO()
    assert decrypt(Slow(blob), target, KEY, cipher=cipher) == done
    assert target.getvalue() == plaintext


@pytest.mark.parametrize("size", [n * BATCH + more for n in (1, 2, 3, 4, 7) for more in (-1, 0, 1, CHUNK)])
def test_batches_do_not_show_in_the_blob(size):
    plaintext = os.urandom(size)
    blob = blob_of(plaintext)
    assert plaintext_of(blob) == plaintext
    key, prefix = derived(KEY)[:32], derived(KEY)[64:]
    for number in {0, BATCH // CHUNK - 1, BATCH // CHUNK, (size - 1) // CHUNK}:
        place = number * CHUNK
        if place < size:
            nonce = prefix + number.to_bytes(4, "big") + bytes([place + CHUNK >= size])
            begin = HEADER_BYTES + number * STEP
            sealed = blob[begin : begin + STEP]
            assert AESGCM(key).decrypt(nonce, sealed, blob[:HEADER_BYTES]) == plaintext[place : place + CHUNK]


def test_a_source_that_cannot_be_read_to_its_end_gives_no_blob():
    class Torn(Slow):
        def readinto(self, buffer):
            if self.inner.tell() > 3 * BATCH:
                raise OSError("the medium is gone")
            return super().readinto(buffer)

    with pytest.raises(OSError, match="the medium is gone"):
        encrypt(Torn(bytes(6 * BATCH)), io.BytesIO(), KEY, salt=SALT)


@pytest.mark.parametrize(("cipher", "aead"), [(AES, AESGCM), (CHACHA, ChaCha20Poly1305)])
def test_the_format_is_the_one_described(cipher, aead):
    plaintext = os.urandom(2 * CHUNK + 7)
    material = derived(KEY, cipher)
    header = FIXED[cipher] + SALT + material[32:64]
    keyed = aead(material[:32])
    chunks = [plaintext[i : i + 262144] for i in range(0, len(plaintext), 262144)]
    expected = header + b"".join(
        keyed.encrypt(material[64:] + i.to_bytes(4, "big") + bytes([i == 2]), chunk, header)
        for i, chunk in enumerate(chunks)
    )
    assert blob_of(plaintext, cipher=cipher) == expected


@pytest.mark.parametrize(("made", "named"), [(AES, CHACHA), (CHACHA, AES)])
def test_a_blob_is_opened_by_the_cipher_that_was_signed_and_by_no_other(made, named):
    blob = blob_of(b"weights", cipher=made)
    assert reason(blob, cipher=named) == ReleaseRefusal.BLOB_ALTERED
    renamed = FIXED[named] + blob[8:]
    assert reason(renamed, cipher=named) == ReleaseRefusal.WRONG_KEY  # key and commitment are of one cipher
    assert reason(renamed, cipher=made) == ReleaseRefusal.BLOB_ALTERED


@pytest.mark.parametrize("cipher", list(Cipher))
def test_both_commit_to_their_key_before_anything_is_decrypted(cipher):
    target = io.BytesIO()
    with pytest.raises(ReleaseRefusedError) as caught:
        decrypt(io.BytesIO(blob_of(b"weights", cipher=cipher)), target, b"x" * 32, cipher=cipher)
    assert caught.value.reason == ReleaseRefusal.WRONG_KEY
    assert target.getvalue() == b""


BLOB = blob_of(bytes(range(256)) * 1024 * 3 + b"tail")  # three full chunks and a short one
HEAD, CHUNKS = BLOB[:HEADER_BYTES], [BLOB[i : i + STEP] for i in range(HEADER_BYTES, len(BLOB), STEP)]


@pytest.mark.parametrize(
    "blob",
    [
        HEAD + b"".join(CHUNKS[:3]),  # cut at a border
        HEAD + b"".join(CHUNKS[:1]),
        HEAD + b"".join(CHUNKS[:2]) + CHUNKS[2][:100],
        HEAD + b"".join(CHUNKS[:3]) + CHUNKS[3][: TAG - 1],
        HEAD + b"".join(CHUNKS[:3]) + CHUNKS[3][:TAG],
        HEAD,
        HEAD[:-1],
        b"",
        HEAD + CHUNKS[1] + CHUNKS[0] + CHUNKS[2] + CHUNKS[3],  # moved
        HEAD + CHUNKS[0] + CHUNKS[0] + CHUNKS[2] + CHUNKS[3],  # doubled over another
        HEAD + CHUNKS[0] + b"".join(CHUNKS),  # doubled
        HEAD + CHUNKS[0] + CHUNKS[2] + CHUNKS[3],  # dropped
        HEAD + CHUNKS[3],
        BLOB + b"\0",
        BLOB + CHUNKS[3],
        BLOB + BLOB,
    ],
)
def test_a_blob_that_was_cut_moved_doubled_or_extended_is_refused(blob):
    assert reason(blob) == ReleaseRefusal.BLOB_ALTERED


@pytest.mark.parametrize("position", [*range(8), 72, 73, 72 + STEP, len(BLOB) - 1])
def test_a_changed_bit_is_refused(position):
    bad = bytearray(BLOB)
    bad[position] ^= 1
    assert reason(bytes(bad)) == ReleaseRefusal.BLOB_ALTERED


@pytest.mark.parametrize("position", [8, 39, 40, 71])
def test_another_salt_or_commitment_means_another_key(position):
    bad = bytearray(BLOB)
    bad[position] ^= 1
    assert reason(bytes(bad)) == ReleaseRefusal.WRONG_KEY


def test_chunks_of_two_blobs_do_not_mix():
    other = blob_of(bytes(3 * CHUNK + 4), salt=b"t" * 32)
    mixed = HEAD + other[HEADER_BYTES : HEADER_BYTES + STEP] + b"".join(CHUNKS[1:])
    assert reason(mixed) == ReleaseRefusal.BLOB_ALTERED


def test_an_empty_chunk_after_full_ones_is_refused():
    """Even with the key: a plaintext has exactly one blob for a salt."""
    material = derived(KEY)
    head = blob_of(b"")[:HEADER_BYTES]
    cipher = AESGCM(material[:32])
    forged = head + cipher.encrypt(material[64:] + bytes(5), bytes(CHUNK), head)
    forged += cipher.encrypt(material[64:] + b"\0\0\0\1\1", b"", head)
    assert reason(forged) == ReleaseRefusal.BLOB_ALTERED


def test_a_ciphertext_for_two_keys_is_refused_by_the_commitment():
    """GCM alone does not commit: here one chunk authenticates under two keys; the commitment refuses the second.

    A tag is linear in the ciphertext blocks, so one free block makes the tags of both keys equal.
    """
    other = b"o" * 32
    first, second = derived(KEY), derived(other)
    header = FIXED[AES] + SALT + first[32:64]
    nonces = [m[64:] + b"\0\0\0\0\1" for m in (first, second)]
    sealed = _two_key_ciphertext(first[:32], second[:32], *nonces, header)
    assert len({AESGCM(m[:32]).decrypt(n, sealed, header) for m, n in zip((first, second), nonces, strict=True)}) == 2
    assert len(plaintext_of(header + sealed)) == 16
    assert reason(header + sealed, other) == ReleaseRefusal.WRONG_KEY


def _gf_multiply(x, y):
    z = 0
    for i in range(128):
        if y >> (127 - i) & 1:
            z ^= x
        x = x >> 1 ^ (0xE1 << 120 if x & 1 else 0)
    return z


def _gf_inverse(x):
    result, power = 1 << 127, x  # x^(2^128 − 2); 1 is the leading bit in GCM's order
    for _ in range(127):
        power = _gf_multiply(power, power)
        result = _gf_multiply(result, power)
    return result


def _two_key_ciphertext(key1, key2, nonce1, nonce2, header):
    """One 16-byte block C and a tag T valid under both keys: T = S₁ ⊕ C·H₁² ⊕ A₁ = S₂ ⊕ C·H₂² ⊕ A₂ (SP 800-38D)."""
    zero = bytes(16)
    # with C = 0 the tag is the constant part; GHASH is linear in C with factor H²
    constants, squares = [], []
    for key, nonce in ((key1, nonce1), (key2, nonce2)):
        keystream = AESGCM(key).encrypt(nonce, zero, header)[:16]
        constants.append(int.from_bytes(AESGCM(key).encrypt(nonce, keystream, header)[16:], "big"))
        h = int.from_bytes(_aes_block(key, zero), "big")
        squares.append(_gf_multiply(h, h))
    c = _gf_multiply(constants[0] ^ constants[1], _gf_inverse(squares[0] ^ squares[1]))
    tag = constants[0] ^ _gf_multiply(c, squares[0])
    return c.to_bytes(16, "big") + tag.to_bytes(16, "big")


def _aes_block(key, block):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def test_memory_does_not_grow_with_the_file(tmp_path):
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.truncate(100 << 20)
    code = (
        "import resource, sys, pathlib\n"
        "from skerry.security.delivery.stream import decrypt, encrypt\n"
        "a, b, c = map(pathlib.Path, sys.argv[1:])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with a.open('rb') as s, b.open('wb') as t: encrypt(s, t, b'k' * 32, salt=b's' * 32)\n"
        "with b.open('rb') as s, c.open('wb') as t: decrypt(s, t, b'k' * 32)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path / "blob", tmp_path / "again"], capture_output=True, check=True
    )
    assert int(grown.stdout) < 16 << 10  # KiB
    for name in ("blob", "again"):
        (tmp_path / name).unlink()
