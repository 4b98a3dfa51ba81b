"""All of a folder is on stable storage, or the caller hears that it is not."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.errors import DiskFullError
from skerry.tree_sync import sync_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/one", "a/b/two", "three"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "outside").write_bytes(b"x")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "tree"


def test_every_file_and_every_folder_is_synced_each_by_its_own_call(tree: Path, monkeypatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd))[1])
    sync_tree(tree)
    assert sorted(synced) == sorted(path.stat().st_ino for path in (tree, *tree.rglob("*")))


def test_one_file_that_the_disk_did_not_take_is_told(tree: Path, monkeypatch) -> None:
    bad, real = (tree / "a" / "b" / "two").stat().st_ino, os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.ENOSPC, "no space")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFullError):
        sync_tree(tree)


def test_a_folder_that_cannot_be_read_is_told_and_not_passed_over(tree: Path, monkeypatch) -> None:
    bad, real = tree / "a" / "b", os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == bad:
            raise OSError(errno.EIO, "the disk does not give it")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="does not give it"):
        sync_tree(tree)
