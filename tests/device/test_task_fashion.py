"""Fashion-MNIST: every picture has one place, splits follow their seed, and unusable files are explained."""

import gzip
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.dirichlet import dirichlet_split
from skerry.device.tasks.fashion import DEBIAN, MINIMUM, FashionTask
from skerry.device.tasks.idx import parse_idx, read_idx
from skerry.errors import MissingDependencyError, TaskError

installed = pytest.mark.skipif(  # .ci/run installs it, or says why it could not
    not DEBIAN.is_dir(), reason="Debian's package is not installed: apt-get install dataset-fashion-mnist"
)


def fashion(**config) -> FashionTask:
    return FashionTask(TaskConfig(name="fashion", **config), ModelConfig(input_size=32))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, *, train: int = 600, test: int = 300, compress: bool = False) -> Path:
    """Files of the right form with random content; each picture carries its number in its first pixels."""
    generator = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        x = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        x[:, 0, 0], x[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
        y = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", x), (f"{part}-labels-idx1-ubyte", y)):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return folder


def numbers(x: np.ndarray) -> list[int]:
    return (x[:, 0, 0, 0].astype(int) * 256 + x[:, 0, 1, 0]).tolist()


# --- the real data


@installed
def test_the_real_set_is_shared_out_whole():
    task = fashion()
    assert len(task.devices()) == 20
    local = [task.local_data(device) for device in task.devices()]
    public = task.public_data()
    assert len(public) == 6000
    assert sum(len(data) for data in local) == 54_000
    counts = sum(np.bincount(data.y, minlength=10) for data in [*local, public])
    assert counts.tolist() == [6000] * 10
    assert np.bincount(np.concatenate([data.y for data in task.evaluation().values()])).tolist() == [1000] * 10
    assert task.transform(public.x[:3]).shape == (3, *task.input_shape) == (3, 3, 32, 32)


@installed
def test_a_class_looks_alike_on_devices_and_among_the_held_out():
    """Pictures and labels belong together: a nearest-mean rule from public pictures names most held-out ones."""
    task = fashion()
    public = task.public_data()
    means = np.stack([public.x[public.y == label].reshape(-1, 784).mean(0) for label in range(10)])
    held_out = next(iter(task.evaluation().values()))
    distance = ((held_out.x.reshape(-1, 1, 784) - means) ** 2).sum(2)
    assert (distance.argmin(1) == held_out.y).mean() > 0.55


# --- the split


def test_every_picture_has_exactly_one_place(tmp_path):
    task = fashion(root=write(tmp_path), devices=8, public_examples=100)
    local = [numbers(task.local_data(device).x) for device in task.devices()]
    assert sorted(itertools.chain(*local, numbers(task.public_data().x))) == list(range(600))
    held_out = [numbers(data.x) for data in task.evaluation().values()]
    assert sorted(itertools.chain(*held_out)) == list(range(300))
    assert min(map(len, [*local, *held_out])) >= MINIMUM


def test_the_split_follows_its_seed_and_alpha(tmp_path):
    write(tmp_path)
    one, same, other = (fashion(root=tmp_path, devices=5, public_examples=100, seed=seed) for seed in (3, 3, 4))
    assert one.identity() == same.identity() != other.identity()
    assert len({one.identity(device) for device in one.devices()}) == 5

    def kinds(alpha: float) -> float:
        task = fashion(root=tmp_path, devices=5, public_examples=0, alpha=alpha)
        mixes = [np.bincount(task.local_data(d).y, minlength=10) / len(task.local_data(d)) for d in task.devices()]
        return float(np.mean([mix.max() for mix in mixes]))

    assert kinds(0.05) > 0.3 > 0.15 > kinds(1000.0)


def test_a_device_keeps_at_most_what_was_asked_for(tmp_path):
    task = fashion(root=write(tmp_path), devices=4, public_examples=0, examples=30)
    assert [len(task.local_data(device)) for device in task.devices()] == [30] * 4
    with pytest.raises(TaskError):
        task.local_data("held-out-000")


@given(
    classes=st.integers(1, 12),
    count=st.integers(1, 400),
    holders=st.integers(1, 30),
    alpha=st.floats(1e-3, 1e4),
    minimum=st.integers(0, 8),
    seed=st.integers(0, 2**32),
)
def test_a_split_is_a_partition_with_a_minimum(classes, count, holders, alpha, minimum, seed):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, count)

    def split():
        return dirichlet_split(y, holders, alpha=alpha, minimum=minimum, generator=np.random.default_rng(seed))

    if holders * minimum > count:
        with pytest.raises(TaskError):
            split()
        return
    parts = split()
    assert len(parts) == holders
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert min(map(len, parts)) >= minimum
    assert all(np.array_equal(a, b) for a, b in zip(parts, split(), strict=True))


# --- IDX files


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)))
def test_what_was_written_is_read(array):
    assert np.array_equal(parse_idx(idx(array), array.ndim), array)


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)), st.data())
def test_a_shortened_or_longer_file_is_refused(array, data):
    whole = idx(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for broken in (whole[:cut], whole + b"\0"):
        with pytest.raises(ValueError, match=r"ends after|follow"):
            parse_idx(broken, array.ndim)


@given(st.binary(max_size=80), st.integers(1, 4))
def test_foreign_bytes_are_refused_or_are_an_array(data, dimensions):
    try:
        array = parse_idx(data, dimensions)
    except ValueError:
        return
    assert idx(array) == data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "within its header"),
        (b"\x89PNG\r\n\x1a\n and so on, a picture", "does not begin as one"),
        (struct.pack(">4BI", 0, 0, 0x0D, 1, 1) + b"\0\0\0\0", "not unsigned bytes"),
        (idx(np.zeros((2, 2), np.uint8)), "2 dimensions where 1"),
        (gzip.compress(idx(np.zeros(50, np.uint8)), mtime=0)[:-9], "cannot be read"),
        (gzip.compress(idx(np.zeros(50, np.uint8)), mtime=0)[:-8] + bytes(8), "cannot be read"),
        (b"\x1f\x8b\x08 not gzip", "cannot be read"),
    ],
)
def test_an_unusable_file_is_named(tmp_path, content, said):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=said) as caught:
        read_idx(path, 1)
    assert caught.value.where == str(path)


def test_files_may_be_compressed_or_not(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()
    tasks = [
        fashion(root=write(plain), devices=3, public_examples=50),
        fashion(root=write(packed, compress=True), devices=3, public_examples=50),
    ]
    assert tasks[0].identity() == tasks[1].identity()


def test_missing_files_say_what_to_install(tmp_path):
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingDependencyError, match="t10k-labels-idx1-ubyte") as caught:
        fashion(root=tmp_path)
    assert "apt-get install dataset-fashion-mnist" in caught.value.mend
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("train-images-idx3-ubyte", np.zeros((600, 32, 32), np.uint8), "32×32"),
        ("train-labels-idx1-ubyte", np.zeros(599, np.uint8), "600 pictures have 599 labels"),
        ("t10k-labels-idx1-ubyte", np.full(300, 10, np.uint8), "ten classes"),
    ],
)
def test_files_of_another_set_are_refused(tmp_path, name, array, said):
    (write(tmp_path) / name).write_bytes(idx(array))
    with pytest.raises(TaskError, match=said):
        fashion(root=tmp_path, devices=3)


def test_too_many_devices_are_refused(tmp_path):
    with pytest.raises(TaskError, match="at least 20 each") as caught:
        fashion(root=write(tmp_path), devices=40, public_examples=0)
    assert "task.devices" in caught.value.mend
