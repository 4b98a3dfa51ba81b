"""A download in a process of its own that is killed at an offset, and the one that goes on after it."""

import hashlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import Value
from pathlib import Path

from skerry.security.delivery.client import FolderSource
from skerry.security.delivery.client.download import download


class _Counted(FolderSource):
    """Counts what it sends, and ends its process by SIGKILL at an offset."""

    def __init__(self, folder: Path, kill_at: int | None = None) -> None:
        super().__init__(folder)
        self.sent, self._kill_at = Value("q", 0), kill_at

    def read(self, blob: str, first: int, last: int) -> Iterator[bytes]:
        for piece in super().read(blob, first, last):
            room = len(piece) if self._kill_at is None else min(len(piece), self._kill_at - self.sent.value)
            self.sent.value += room
            yield piece[:room]
            if room < len(piece):
                os.kill(os.getpid(), signal.SIGKILL)


def interrupted(served: Path, data: bytes, offset: int, folder: Path) -> tuple[int, bool]:
    """Bytes that were sent twice, and whether the file is bit-identical in the end."""
    name = hashlib.sha256(data).hexdigest()
    first, second = _Counted(served, offset), _Counted(served)
    child = os.fork()
    if child == 0:
        download(first, name, len(data), folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    path = download(second, name, len(data), folder)
    return first.sent.value + second.sent.value - len(data), path.read_bytes() == data
