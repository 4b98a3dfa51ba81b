"""One wait for many files, and each of them is on stable storage or known not to be."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry import group_sync
from skerry.group_sync import GroupSync
from skerry.syncer import Job

FILES = 12


def done(size: int, failure: OSError | None) -> None:
    del size
    if failure is not None:
        raise failure


class Disk:
    """What is asked of the disk, and what it says."""

    def __init__(self) -> None:
        self.together = 0
        self.alone: list[int] = []
        self.loses: set[int] = set()
        self.says_well = True
        self.tells_once = False
        self.gate = threading.Event()
        self.gate.set()

    def syncfs(self, fd: int) -> bool:
        self.gate.wait(20)
        self.together += 1
        return self.says_well

    def fsync(self, fd: int) -> OSError | None:
        self.gate.wait(20)
        self.alone.append(fd)
        if fd not in self.loses:
            return None
        if self.tells_once:
            self.loses.remove(fd)
        return OSError(5, "lost")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(group_sync, "_syncfs", made.syncfs)
    monkeypatch.setattr(group_sync, "_fsync", made.fsync)
    monkeypatch.setattr(group_sync, "_syncfs_is_sound", lambda _: True)
    return made


@pytest.fixture
def fds(tmp_path: Path) -> Iterator[list[int]]:
    made = [os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY) for number in range(FILES)]
    yield made
    for fd in made:
        os.close(fd)


def begin_all(group: GroupSync, disk: Disk, fds: list[int]) -> list[Job]:
    """All of them wait at once: the thread is busy with what came first."""
    disk.gate.clear()
    jobs = [group.begin(fd, 0, done) for fd in fds]
    disk.gate.set()
    return jobs


def test_many_files_are_waited_for_at_once(tmp_path: Path, disk: Disk, fds: list[int]):
    with GroupSync(tmp_path) as group:
        for job in begin_all(group, disk, fds):
            job.wait()
    assert disk.together >= 1
    assert len(disk.alone) < FILES / 2


def test_a_file_is_not_said_to_be_safe_before_the_disk_has_it(tmp_path: Path, disk: Disk, fds: list[int]):
    with GroupSync(tmp_path) as group:
        disk.gate.clear()
        jobs = [group.begin(fd, 0, done) for fd in fds]
        threading.Event().wait(0.05)
        assert not any(job.over for job in jobs)
        disk.gate.set()
    assert all(job.over for job in jobs)  # a block that is left has waited


def test_a_loss_is_told_to_the_file_that_lost(tmp_path: Path, disk: Disk, fds: list[int]):
    disk.says_well, disk.loses = False, {fds[3]}
    with GroupSync(tmp_path) as group:
        jobs = begin_all(group, disk, fds)
        assert [job.failure() is not None for job in jobs] == [fd == fds[3] for fd in fds]
    assert sorted(disk.alone) == sorted(fds)


def test_a_loss_that_was_told_before_a_file_was_begun_is_told_to_that_file(tmp_path: Path, disk: Disk, fds: list[int]):
    """``syncfs`` speaks of all files that were written, once: also of those that are begun only after it."""
    later = fds[6:]
    disk.says_well, disk.loses = False, {later[-1]}
    with GroupSync(tmp_path) as group:
        for job in begin_all(group, disk, fds[:6]):
            job.wait()
        disk.says_well = True  # it has told
        assert [job.failure() is not None for job in begin_all(group, disk, later)] == [fd == later[-1] for fd in later]


def test_one_file_is_asked_for_itself_and_all_are_if_it_was_lost(tmp_path: Path, disk: Disk, fds: list[int]):
    disk.tells_once = True
    disk.loses = set(fds)  # and syncfs says that all is well
    with GroupSync(tmp_path) as group:
        jobs = begin_all(group, disk, fds)
        assert all(job.failure() is not None for job in jobs)
    assert disk.together >= 1


def test_files_elsewhere_and_file_systems_that_are_not_known_are_synced_one_by_one(
    tmp_path: Path, disk: Disk, fds: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(group_sync, "_syncfs_is_sound", lambda _: False)
    with GroupSync(tmp_path) as group:
        for job in begin_all(group, disk, fds):
            job.wait()
    assert (disk.together, disk.alone) == (0, fds)

    monkeypatch.setattr(group_sync, "_syncfs_is_sound", lambda _: True)
    with GroupSync(Path("/proc")) as group:
        for job in begin_all(group, disk, fds):
            job.wait()
    assert (disk.together, disk.alone) == (0, fds * 2)


@pytest.mark.parametrize(
    ("release", "kind", "sound"),
    [("6.1.0-13", "ext4", True), ("5.17.0", "xfs", True), ("5.16.20", "ext4", False), ("6.1", "fuse.sshfs", False)],
)
def test_a_file_system_is_trusted_by_its_kind_and_the_kernels_age(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str, kind: str, sound: bool
):
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 98:7 / /mnt/a rw shared:1 - {kind} /dev/x rw\n37 35 98:8 / /b rw - ext4 /dev/y rw\n")
    monkeypatch.setattr(group_sync, "_MOUNTS", table)
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], real[1], release, real[3], real[4])))
    assert group_sync._syncfs_is_sound(os.makedev(98, 7)) is sound


def test_real_files_on_a_real_disk(tmp_path: Path, fds: list[int]):
    with GroupSync(tmp_path) as group:
        jobs = []
        for fd in fds:
            os.write(fd, b"entry")
            jobs.append(group.begin(fd, 5, done))
        for job in jobs:
            job.wait()


def test_who_hurries_waits_for_no_further_files(
    tmp_path: Path, disk: Disk, fds: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(group_sync, "_GATHER_S", 3600.0)
    with GroupSync(tmp_path) as group:
        for _ in range(3):  # also when it was told so before
            jobs = [group.begin(fd, 0, done) for fd in fds]
            assert not any(job.over for job in jobs)
            group.hurry()
            over = threading.Thread(target=lambda all_of=jobs: [job.wait() for job in all_of], daemon=True)
            over.start()
            over.join(30)
            assert not over.is_alive()
        assert disk.together == 3
        group.begin(fds[0], 0, done)  # and who leaves the block hurries
