"""Promises of the download: killed anywhere, it goes on with at most one chunk repeated, and ends bit-identical."""

import hashlib
import os
import random
import signal
from multiprocessing import Value

import pytest

from skerry.errors import ReleaseRefusedError, RunFailedError
from skerry.security.delivery.client import FolderSource
from skerry.security.delivery.client import download as module
from skerry.security.delivery.client.download import DOWNLOAD_CHUNK, download, missing_bytes
from skerry.security.delivery.refusal import ReleaseRefusal

SIZE = 9 * DOWNLOAD_CHUNK + 1234
DATA = random.Random(0).randbytes(SIZE)
NAME = hashlib.sha256(DATA).hexdigest()


class Counting(FolderSource):
    """Counts the bytes that were sent, also for the parent of a process that dies; kills that process at an offset."""

    def __init__(self, folder, *, kill_at=None):
        super().__init__(folder)
        self.sent, self.kill_at = Value("q", 0), kill_at

    def read(self, blob, first, last):
        for piece in super().read(blob, first, last):
            if self.kill_at is not None and self.sent.value + len(piece) > self.kill_at:
                part = piece[: self.kill_at - self.sent.value]
                self.sent.value += len(part)
                yield part
                os.kill(os.getpid(), signal.SIGKILL)
            self.sent.value += len(piece)
            yield piece


@pytest.fixture
def served(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / NAME).write_bytes(DATA)
    return tmp_path


def killed(work) -> None:
    """Run in a process of its own, which must die by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("seed", range(50))
def test_a_download_that_is_killed_at_a_random_offset_goes_on(served, tmp_path, seed):
    offset = random.Random(seed).randrange(SIZE)
    first = Counting(served, kill_at=offset)
    killed(lambda: download(first, NAME, SIZE, tmp_path / "d"))
    assert first.sent.value == offset
    assert not (tmp_path / "d" / NAME).exists()
    second = Counting(served)
    assert download(second, NAME, SIZE, tmp_path / "d").read_bytes() == DATA
    assert first.sent.value + second.sent.value <= SIZE + DOWNLOAD_CHUNK
    assert [path.name for path in (tmp_path / "d").iterdir()] == [NAME]


@pytest.mark.parametrize("number", [0, 4, 9])
def test_killed_between_writing_a_chunk_and_marking_it_repeats_that_chunk(served, tmp_path, number):
    first, marked = Counting(served), []

    def die(marks, chunk):
        if chunk == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(marks, chunk)
        marked.append(chunk)

    real = module._mark

    def work():
        module._mark = die  # in the process that dies
        download(first, NAME, SIZE, tmp_path / "d")

    killed(work)
    second = Counting(served)
    assert download(second, NAME, SIZE, tmp_path / "d").read_bytes() == DATA
    assert second.sent.value == SIZE - number * DOWNLOAD_CHUNK


def test_a_chunk_is_marked_only_after_it_was_written(served, tmp_path):
    first, real = Counting(served), os.pwrite

    def die(file, data, at):
        if at == 4 * DOWNLOAD_CHUNK:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, data, at)

    def work():
        os.pwrite = die  # in the process that dies
        download(first, NAME, SIZE, tmp_path / "d")

    killed(work)
    second = Counting(served)
    assert download(second, NAME, SIZE, tmp_path / "d").read_bytes() == DATA
    assert second.sent.value == SIZE - 4 * DOWNLOAD_CHUNK


def test_chunks_that_a_power_cut_lost_are_noticed_and_fetched_once_more(served, tmp_path):
    killed(lambda: download(Counting(served, kill_at=SIZE // 2), NAME, SIZE, tmp_path / "d"))
    with (tmp_path / "d" / f"{NAME}.part").open("r+b") as part:
        part.write(bytes(DOWNLOAD_CHUNK))
    source = Counting(served)
    assert download(source, NAME, SIZE, tmp_path / "d").read_bytes() == DATA
    assert source.sent.value > SIZE, "the rest, and then all"


def test_other_content_is_refused_and_not_kept(served, tmp_path):
    (served / "blobs" / NAME).write_bytes(DATA[:-1] + b"x")
    with pytest.raises(ReleaseRefusedError) as caught:
        download(FolderSource(served), NAME, SIZE, tmp_path / "d")
    assert caught.value.reason == ReleaseRefusal.WRONG_HASH
    assert not list((tmp_path / "d").iterdir())


@pytest.mark.parametrize("cut", [0, 1, DOWNLOAD_CHUNK, SIZE - 1])
def test_a_source_that_ends_too_early_keeps_what_has_come(served, tmp_path, cut):
    (served / "blobs" / NAME).write_bytes(DATA[:cut])
    with pytest.raises(RunFailedError, match="broke off"):
        download(FolderSource(served), NAME, SIZE, tmp_path / "d")
    (served / "blobs" / NAME).write_bytes(DATA)
    source = Counting(served)
    download(source, NAME, SIZE, tmp_path / "d")
    assert source.sent.value == SIZE - cut // DOWNLOAD_CHUNK * DOWNLOAD_CHUNK


def test_the_disk_still_needed_counts_what_was_written_and_not_the_holes(served, tmp_path):
    folder = tmp_path / "d"
    assert missing_bytes(folder, NAME, SIZE) == SIZE
    killed(lambda: download(Counting(served, kill_at=2 * DOWNLOAD_CHUNK), NAME, SIZE, folder))
    assert SIZE - 4 * DOWNLOAD_CHUNK < missing_bytes(folder, NAME, SIZE) <= SIZE - 2 * DOWNLOAD_CHUNK
    download(FolderSource(served), NAME, SIZE, folder)
    assert missing_bytes(folder, NAME, SIZE) == 0


@pytest.mark.parametrize("damage", ["longer", "shorter", "no map", "no part"])
def test_leftovers_of_another_shape_are_started_anew(served, tmp_path, damage):
    killed(lambda: download(Counting(served, kill_at=SIZE // 2), NAME, SIZE, tmp_path / "d"))
    part, bits = (tmp_path / "d" / f"{NAME}.{kind}" for kind in ("part", "map"))
    if damage == "longer":
        part.write_bytes(DATA + b"x")
    elif damage == "shorter":
        bits.write_bytes(b"\xff")
    else:
        (bits if damage == "no map" else part).unlink()
    source = Counting(served)
    assert download(source, NAME, SIZE, tmp_path / "d").read_bytes() == DATA
    assert source.sent.value == SIZE
