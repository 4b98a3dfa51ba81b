"""Delivery: sealing a file, wrapping its key for many, shipping a change, and going on after a kill.

Sealing is measured three times. ``seal`` is the encryption alone against raw AES-GCM, in memory. ``publish`` is with
the SHA-256 of plaintext and ciphertext that a manifest states, which cost several times the encryption; it is held
against AES-GCM and two SHA-256 over the same bytes. ``publish_file`` is what a publisher waits for: the same from a
file to a file on stable storage, against raw AES-GCM from the same file to another.
"""

import hashlib
import io
import os
import random
import secrets
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from _fleet_of_names import Recipients
from _harness import Claim, Peer, Samples, main, progress, versions
from _interrupted import interrupted
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from skerry.fsio import WriteBehind
from skerry.security import Identity
from skerry.security.delivery.bins import write_bins
from skerry.security.delivery.client.download import DOWNLOAD_CHUNK
from skerry.security.delivery.delta import make_delta
from skerry.security.delivery.manifest import Contents, ReleaseFile
from skerry.security.delivery.stream import BATCH, CHUNK, blob_bytes, encrypt, seal_batches

GIB, REPEATS = 1 << 30, 5
DEVICES = 10_000
KILLS = 50
KEY, SALT = bytes(32), bytes(32)


class _Zeros(io.RawIOBase):
    """A file of so many bytes, that costs nothing to read: the same memory again and again."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._left)
        self._left -= length
        return length


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def seal(scratch: Path) -> Iterator[Claim]:
    """1 GiB in chunks of 256 KiB, in memory: nothing here is the disk's speed."""
    del scratch
    ours, raw, whole, floor = ([] for _ in range(4))
    for turn in range(REPEATS):
        raw.append(_seconds(_raw))
        ours.append(_seconds(lambda: [None for _ in seal_batches(_zeros(), KEY, salt=SALT)]))
        floor.append(_seconds(_raw_and_digests))
        whole.append(_seconds(lambda: encrypt(_Zeros(GIB), _Nowhere(), KEY, salt=SALT)))
        progress(f"turn {turn + 1}: raw {raw[-1]:.2f} s, sealed {ours[-1]:.2f}, with digests {whole[-1]:.2f}")
    ratio, digests = _ratios(raw, ours), _ratios(floor, whole)
    speed = GIB / 1e6 / Samples(raw).median
    yield Claim(
        id="seal",
        text="1 GiB sealed in committing chunks (STREAM), speed over that of raw AES-256-GCM in the same chunks",
        value=ratio.median,
        unit="ratio",
        op=">=",
        bar=0.7,
        peer=Peer("AES-256-GCM of `cryptography`, MB/s", speed),
        spread=ratio.spread,
    )
    yield Claim(
        id="publish",
        text="the same with both digests of the manifest, speed over AES-256-GCM and two SHA-256 of the same bytes",
        value=digests.median,
        unit="ratio",
        op=">=",
        bar=0.7,
        peer=Peer("AES-256-GCM and twice SHA-256, MB/s", GIB / 1e6 / Samples(floor).median),
        spread=digests.spread,
        detail={"over_raw_aes_gcm": round(_ratios(raw, whole).median, 3)},
    )


def file(scratch: Path) -> Iterator[Claim]:
    """The same 1 GiB from a file to a file; what is written is on stable storage when the clock stops."""
    with (scratch / "plain").open("wb") as plain:
        for _ in range(GIB // CHUNK):
            plain.write(secrets.token_bytes(CHUNK))
        os.fsync(plain.fileno())
    ours, raw = [], []
    for turn in range(REPEATS):
        raw.append(_seconds(lambda: _from_file_to_file(scratch, _raw_file)))
        ours.append(_seconds(lambda: _from_file_to_file(scratch, _publish)))
        progress(f"turn {turn + 1}: raw {raw[-1]:.2f} s, published {ours[-1]:.2f}")
    ratio = _ratios(raw, ours)
    yield Claim(
        id="publish_file",
        text="1 GiB sealed from a file to a file on stable storage, with both digests of the manifest, speed over raw "
        "AES-256-GCM of the same file to another",
        value=ratio.median,
        unit="ratio",
        op=">=",
        bar=0.7,
        peer=Peer("AES-256-GCM of `cryptography`, file to file with fsync, MB/s", GIB / 1e6 / Samples(raw).median),
        spread=ratio.spread,
    )


def wraps(scratch: Path) -> Iterator[Claim]:
    """One content key for 10,000 devices: bins on disk, under one signature, against as many bare HPKE calls."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    some = [Identity.generate(f"device-{number:05d}").public for number in range(100)]
    keys = [X25519PublicKey.from_public_bytes(public.kem_key) for public in some]
    ours, bare, loading = [], [], []

    def load_and_encrypt() -> None:
        for n in range(DEVICES):
            suite.encrypt(KEY, X25519PublicKey.from_public_bytes(some[n % 100].kem_key), b"i" * 64)

    for turn in range(REPEATS):
        folder = scratch / str(turn)
        folder.mkdir()
        bare.append(_seconds(lambda: [suite.encrypt(KEY, keys[n % 100], b"i" * 64) for n in range(DEVICES)]))
        ours.append(_seconds(lambda folder=folder: write_bins(folder, KEY, _contents(), Recipients(DEVICES, some))))
        loading.append(_seconds(load_and_encrypt))
        progress(f"turn {turn + 1}: bare HPKE {bare[-1]:.2f} s, bins {ours[-1]:.2f} s")
    ratio = _ratios(ours, bare)
    yield Claim(
        id="wraps",
        text="10,000 devices: time of the bins of wraps over that of 10,000 bare HPKE calls (X25519)",
        value=ratio.median,
        unit="ratio",
        op="<=",
        bar=1.3,
        peer=Peer("HPKE of `cryptography` with keys that are loaded already, s", Samples(bare).median),
        spread=ratio.spread,
        detail={"over_hpke_that_loads_each_key": round(_ratios(ours, loading).median, 3)},
    )
    few, many = (_peak(scratch / f"memory-{count}", count, some) for count in (DEVICES, 3 * DEVICES))
    yield Claim(
        id="wraps_memory",
        text="largest memory that Python holds while wrapping for 30,000 devices, over that for 10,000",
        value=many / few,
        unit="ratio",
        op="<=",
        bar=1.1,
        detail={"mb_for_10000": round(few / 1e6, 3), "mb_of_wraps_for_10000": round(DEVICES * 95 / 1e6, 3)},
    )


def delta(scratch: Path) -> Iterator[Claim]:
    """10 MB of float32 weights of which the last 4 % move; all of them move a little beside it."""
    rng = np.random.default_rng(0)
    old = rng.normal(0, 0.05, 2_500_000).astype(np.float32)
    head = old.copy()
    head[-100_000:] += rng.normal(0, 1e-3, 100_000).astype(np.float32)
    dense = old + rng.normal(0, 1e-4, old.size).astype(np.float32)
    shares = {}
    for name, new in (("head", head), ("dense", dense)):
        (scratch / "old").write_bytes(old.tobytes())
        (scratch / "new").write_bytes(new.tobytes())
        shares[name] = blob_bytes(make_delta(scratch / "old", scratch / "new", scratch / "delta")) / blob_bytes(
            new.nbytes
        )
    yield Claim(
        id="head_delta",
        text="a change of the head alone (4 % of the weights): bytes of the sealed delta over those of the sealed file",
        value=shares["head"],
        unit="ratio",
        op="<=",
        bar=0.05,
        detail={"all_weights_moved": round(shares["dense"], 3)},
    )


def resume(scratch: Path) -> Iterator[Claim]:
    """20 MB, killed by SIGKILL at 50 random offsets, each time gone on with and compared."""
    data = random.Random(0).randbytes(20_000_000)
    (scratch / "blobs").mkdir()
    (scratch / "blobs" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    chance = random.Random(1)
    repeated, same = [], 0
    for kill in range(KILLS):
        again, identical = interrupted(scratch, data, chance.randrange(len(data)), scratch / f"kill-{kill}")
        repeated.append(again / DOWNLOAD_CHUNK)
        same += identical
    yield Claim(
        id="resume_repeated",
        text=f"chunks of {DOWNLOAD_CHUNK >> 10} KiB fetched again after a kill, the most of {KILLS} kills",
        value=max(repeated),
        unit="chunks",
        op="<=",
        bar=1.0,
        spread=Samples(repeated).spread,
    )
    yield Claim(
        id="resume_identical",
        text="downloads that ended bit-identical",
        value=same,
        unit="downloads",
        op=">=",
        bar=KILLS,
    )


def _zeros() -> Iterator[tuple[memoryview, bool]]:
    """A GiB in batches, each the same memory."""
    batch = memoryview(bytearray(BATCH))
    for number in range(GIB // BATCH):
        yield batch, number == GIB // BATCH - 1


def _raw() -> None:
    cipher, chunk, room = AESGCM(KEY), bytearray(CHUNK), bytearray(CHUNK + 16)
    for number in range(GIB // CHUNK):
        cipher.encrypt_into(number.to_bytes(12, "big"), chunk, None, room)


def _raw_and_digests() -> None:
    cipher, chunk, room = AESGCM(KEY), bytearray(CHUNK), bytearray(CHUNK + 16)
    plain, blob = hashlib.sha256(), hashlib.sha256()
    for number in range(GIB // CHUNK):
        cipher.encrypt_into(number.to_bytes(12, "big"), chunk, None, room)
        plain.update(chunk)
        blob.update(room)


def _raw_file(source: IO[bytes], target: IO[bytes]) -> None:
    cipher, chunk, room = AESGCM(KEY), bytearray(CHUNK), bytearray(CHUNK + 16)
    for number in range(GIB // CHUNK):
        source.readinto(chunk)
        cipher.encrypt_into(number.to_bytes(12, "big"), chunk, None, room)
        target.write(room)


def _publish(source: IO[bytes], target: IO[bytes]) -> None:
    encrypt(source, WriteBehind(target), KEY, salt=SALT)


def _from_file_to_file(scratch: Path, seal_all: Callable[[IO[bytes], IO[bytes]], object]) -> None:
    with (scratch / "plain").open("rb") as source, (scratch / "sealed").open("wb") as target:
        seal_all(source, target)
        target.flush()
        os.fsync(target.fileno())


def _contents() -> Contents:
    file = ReleaseFile(name="m", size=1, sha256="0" * 64, blob="0" * 64, blob_size=blob_bytes(1))
    return Contents(name="digits", version=1, run="r", publisher="p", created=0, files=(file,))


def _peak(folder: Path, count: int, some: list) -> float:
    folder.mkdir()
    tracemalloc.start()
    write_bins(folder, KEY, _contents(), Recipients(count, some))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _ratios(over: list[float], under: list[float]) -> Samples:
    return Samples([a / b for a, b in zip(over, under, strict=True)])


if __name__ == "__main__":
    main(
        "delivery",
        {"seal": seal, "file": file, "wraps": wraps, "delta": delta, "resume": resume},
        versions("skerry", "cryptography", "tuf", "zstandard"),
    )
