"""A base is found by its facts, built once, appears whole, and is built again when it was damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.device.store import MANIFEST, StoredModel, find_or_build, read_manifest, write_manifest
from skerry.errors import InputError, RefusedError

FACTS = {"kind": "test", "bits": 8}


class Builder:
    """Fills a folder with one file, and counts."""

    def __init__(self, content: bytes = b"weights") -> None:
        self.content, self.built = content, 0

    def __call__(self, out: Path) -> str:
        assert list(out.iterdir()) == []
        self.built += 1
        (out / "weights").write_bytes(self.content)
        return write_manifest(out, FACTS)


def load(digest: str, store: Path) -> StoredModel:
    return read_manifest(digest, store)


def test_what_was_built_is_found_by_its_facts(tmp_path: Path):
    builder = Builder()
    one = find_or_build(FACTS, tmp_path, load, builder)
    two = find_or_build(FACTS, tmp_path, load, builder)
    assert (builder.built, one.digest, one.bits) == (1, two.digest, 8)
    assert one.path.name == one.digest
    assert one.read("weights") == b"weights"
    other = find_or_build({**FACTS, "bits": 32}, tmp_path, load, builder)
    assert (builder.built, other.digest) == (2, one.digest)  # other facts are asked for, the same content came out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([one.digest, "index"])


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "weights").write_bytes(b"other"),
        lambda folder: (folder / "weights").unlink(),
        lambda folder: (folder / MANIFEST).write_bytes(b"{}"),
        lambda folder: folder.rename(folder.parent / "elsewhere"),
    ],
)
def test_what_was_damaged_or_deleted_is_built_again(tmp_path: Path, harm: Callable[[Path], None]):
    builder = Builder()
    first = find_or_build(FACTS, tmp_path, load, builder)
    harm(first.path)
    again = find_or_build(FACTS, tmp_path, load, builder)
    assert (builder.built, again.digest, again.read("weights")) == (2, first.digest, b"weights")
    find_or_build(FACTS, tmp_path, load, builder)
    assert builder.built == 2


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    def fail(out: Path) -> str:
        (out / "weights").write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        find_or_build(FACTS, tmp_path, load, fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights", MANIFEST])
def test_one_changed_byte_is_refused(tmp_path: Path, name: str):
    stored = find_or_build(FACTS, tmp_path, load, Builder())
    data = bytearray((stored.path / name).read_bytes())
    data[0] ^= 1
    (stored.path / name).write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        read_manifest(stored.digest, tmp_path).read("weights")
    assert caught.value.reason == "wrong_model"


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="not on this machine"):
        read_manifest("0" * 64, tmp_path)
