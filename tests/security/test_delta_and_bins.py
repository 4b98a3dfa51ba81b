"""Promises of deltas and of bins of wraps: lossless and bounded; one wrap for each device, found in its bin."""

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InputError, ReleaseRefusedError
from skerry.security import Identity
from skerry.security.delivery.bins import bin_of, names_in, open_wrap, read_index, write_bins
from skerry.security.delivery.delta import apply_delta, make_delta
from skerry.security.delivery.manifest import Contents, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.stream import blob_bytes

FILE = ReleaseFile(name="m", size=3, sha256="ab" * 32, blob="cd" * 32, blob_size=blob_bytes(3))
CONTENTS = Contents(name="digits", version=1, run="r", publisher="p", created=0, files=(FILE,))
KEY = b"k" * 32


def through(tmp_path, old, new):
    before, after, delta = (tmp_path / name for name in ("old", "new", "delta"))
    before.write_bytes(old)
    after.write_bytes(new)
    assert make_delta(before, after, delta) == delta.stat().st_size
    out = io.BytesIO()
    with delta.open("rb") as file:
        apply_delta(file, before, out, len(new))
    assert out.getvalue() == new
    return delta


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_file_is_made_from_any_other(tmp_path_factory, old, new):
    through(tmp_path_factory.mktemp("d"), old, new)


def test_files_of_many_blocks_and_odd_lengths(tmp_path):
    rng = np.random.default_rng(0)
    old = rng.bytes(3_000_001)
    for new in (old, old[:-5], old + rng.bytes(2_000_003), rng.bytes(1 << 20), b""):
        through(tmp_path, old, new)


def test_a_head_only_change_is_at_most_five_percent(tmp_path):
    rng = np.random.default_rng(0)
    old = rng.normal(0, 0.05, 1_000_000).astype(np.float32)
    new = old.copy()
    new[-40_000:] += rng.normal(0, 1e-3, 40_000).astype(np.float32)
    assert through(tmp_path, old.tobytes(), new.tobytes()).stat().st_size <= 0.05 * new.nbytes


@pytest.mark.parametrize("size", [0, 999, 1001, 50_000_000])
def test_a_delta_of_another_length_is_refused_and_writes_no_more_than_was_signed(tmp_path, size):
    delta = through(tmp_path, bytes(1000), b"x" * 1000)
    out = io.BytesIO()
    with delta.open("rb") as file, pytest.raises(ReleaseRefusedError) as caught:
        apply_delta(file, tmp_path / "old", out, size)
    assert caught.value.reason == ReleaseRefusal.PLAINTEXT_ALTERED
    assert len(out.getvalue()) <= size


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_damaged_deltas_are_refused(tmp_path_factory, data):
    old = tmp_path_factory.mktemp("d") / "old"
    old.write_bytes(b"x" * 100)
    for start in (b"", b"\1", b"\4"):
        with pytest.raises(ReleaseRefusedError):
            apply_delta(io.BytesIO(start + data), old, io.BytesIO(), 100)


@pytest.mark.parametrize("devices", [1, 128, 129, 600])
def test_each_device_finds_its_wrap_in_one_bin(tmp_path, devices):
    fleet = [Identity.generate(f"device-{n}") for n in range(devices)]
    index = write_bins(tmp_path, KEY, CONTENTS, [identity.public for identity in fleet])
    bins = read_index((tmp_path / index).read_bytes())
    assert len(bins) == {1: 1, 128: 1, 129: 2, 600: 8}[devices]
    for identity in (fleet[0], fleet[-1]):
        data = (tmp_path / bins[bin_of(identity.name, len(bins))]).read_bytes()
        assert open_wrap(data, CONTENTS, identity) == KEY
        stranger = Identity.generate("stranger")
        with pytest.raises(ReleaseRefusedError) as caught:
            open_wrap(data, CONTENTS, stranger)
        assert caught.value.reason == ReleaseRefusal.NOT_A_RECIPIENT
    named = [name for digest in bins for name in names_in((tmp_path / digest).read_bytes())]
    assert sorted(named) == sorted(identity.name for identity in fleet)
    assert not list(tmp_path.glob(".bin*"))


def test_a_wrap_given_another_name_does_not_open(tmp_path):
    """Even who could sign a bin cannot give a device the wrap of another."""
    ann, bob = Identity.generate("ann"), Identity.generate("bob")
    index = write_bins(tmp_path, KEY, CONTENTS, [ann.public])
    (only,) = read_index((tmp_path / index).read_bytes())
    renamed = (tmp_path / only).read_bytes().replace(b"ann", b"bob")
    for thief in (bob, Identity("bob", ann.signing, ann.kem)):
        with pytest.raises(ReleaseRefusedError) as caught:
            open_wrap(renamed, CONTENTS, thief)
        assert caught.value.reason == ReleaseRefusal.NOT_SEALED_TO_US


def test_somebody_twice_is_bad_input_and_leaves_no_bin_behind(tmp_path):
    ann, again = Identity.generate("ann").public, Identity.generate("ANN").public
    with pytest.raises(InputError, match="only once"):
        write_bins(tmp_path, KEY, CONTENTS, [ann, again])
    assert not list(tmp_path.glob(".bin*"))


class Lazy:
    """Recipients who exist only while they are asked for."""

    def __init__(self, count, public):
        self._count, self._public = count, public

    def __len__(self):
        return self._count

    def __iter__(self):
        for number in range(self._count):
            made = object.__new__(type(self._public))
            made.__dict__.update(self._public.__dict__, name=f"device-{number:05d}")
            yield made


def test_memory_does_not_grow_with_the_number_of_devices(tmp_path):
    public = Identity.generate("one").public
    assert public.encapsulation_key
    peaks = []
    for count in (1100, 4000):  # twice as many bins, and so twice as many open files
        (tmp_path / str(count)).mkdir()
        tracemalloc.start()
        write_bins(tmp_path / str(count), KEY, CONTENTS, Lazy(count, public))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    wraps = (4000 - 1100) * (1 + len("device-00000") + 2 + 80)
    assert peaks[1] - peaks[0] < wraps / 4, f"{peaks} for {wraps} more bytes of wraps"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_no_bin_and_no_list(data):
    for read in (read_index, names_in, lambda d: open_wrap(d, CONTENTS, ANN)):
        try:
            read(data)
        except ReleaseRefusedError:
            continue
        assert read is names_in


def record(name: bytes) -> bytes:
    return bytes([len(name)]) + name + (80).to_bytes(2, "big") + bytes(80)


@pytest.mark.parametrize(
    "data",
    [
        record(b"\xff\xfe"),
        record(b""),
        record(b"a/b"),
        record(b"bob") + record(b"ann"),
        record(b"ann") + record(b"ann"),
    ],
    ids=["not UTF-8", "no name", "no device's name", "not in order", "twice"],
)
def test_a_bin_with_names_that_no_publisher_writes_is_refused(data):
    for read in (names_in, lambda d: open_wrap(d, CONTENTS, ANN)):
        with pytest.raises(ReleaseRefusedError) as caught:
            read(data)
        assert caught.value.reason == ReleaseRefusal.MALFORMED


ANN = Identity.generate("ann")
