"""Files are whole or absent."""

import errno
import os
import stat
from pathlib import Path

import pytest

from skerry import fsio
from skerry.errors import DiskFullError


def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch):
    path = tmp_path / "file"
    fsio.write_atomic(path, b"old")

    def fail(_fd):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFullError) as caught:
        fsio.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert caught.value.mend


def test_secrets_are_never_readable_by_others(tmp_path: Path):
    path = tmp_path / "deep" / "secret"
    fsio.write_atomic(path, b"key", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_durable_append_is_synced_before_it_returns(tmp_path: Path, monkeypatch):
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd))[1])
    path = tmp_path / "log"
    fsio.append_durably(path, b"a\n")
    assert len(synced) == 2  # the file and, because it is new, its folder
    fsio.append_durably(path, b"b\n")
    assert len(synced) == 3
    assert path.read_bytes() == b"a\nb\n"


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path):
    with pytest.raises(DiskFullError, match="MiB are needed"):
        fsio.require_space(tmp_path / "not" / "yet", 1 << 60)
    fsio.require_space(tmp_path, 1)


def test_other_system_errors_pass(tmp_path: Path):
    with pytest.raises(PermissionError), fsio.disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_json_refuses_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        fsio.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_home_follows_the_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    assert fsio.home() == tmp_path
    monkeypatch.delenv("SKERRY_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fsio.home() == tmp_path / "cache" / "skerry"


@pytest.mark.parametrize("advised", [True, False])
def test_what_is_written_behind_is_whole_and_told_to_the_system_in_order(tmp_path: Path, monkeypatch, advised: bool):
    told: list[tuple[int, int, int]] = []
    monkeypatch.setattr(fsio.WriteBehind, "_STEP", 100)
    if advised:
        monkeypatch.setattr(os, "posix_fadvise", lambda fd, at, n, _: told.append((at, n, os.fstat(fd).st_size)))
    else:
        monkeypatch.delattr(os, "posix_fadvise")
    parts = [bytes([n]) * (7 * n) for n in range(20)]
    with (tmp_path / "file").open("wb") as file:
        behind = fsio.WriteBehind(file)
        assert [behind.write(memoryview(part)) for part in parts] == [len(part) for part in parts]
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    assert bool(told) is advised
    end = 0
    for at, length, there in told:
        assert at == end
        assert length >= 100
        end = at + length
        assert there == end  # the system has it, not only our buffer


def test_a_new_file_has_its_content_and_its_mode_and_replaces_nothing(tmp_path: Path):
    mask = os.umask(0o077)
    try:
        for mode in (0o600, 0o644):
            path = tmp_path / f"{mode:o}"
            fsio.write_new(path, b"first", mode=mode)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            with pytest.raises(FileExistsError):
                fsio.write_new(path, b"second", mode=mode)
            assert path.read_bytes() == b"first"
    finally:
        os.umask(mask)


def test_a_new_file_is_written_whole_however_little_the_system_takes_at_once(tmp_path: Path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    fsio.write_new(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_new_file_for_which_there_is_no_room_is_told(tmp_path: Path, monkeypatch):
    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError):
        fsio.write_new(tmp_path / "file", b"x")
