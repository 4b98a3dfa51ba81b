"""File systems of their own, small and really full: in memory, in the mount namespace of this process."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _harness import NotMeasuredError


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of its own of that size at a new folder, for the time of a block.

    Raises:
        NotMeasuredError: this process may not mount one.
    """
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotMeasuredError(f"no disk that can be full may be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], capture_output=True, check=False)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte of room is left on it within the block."""
    filler = disk / "filler"
    for size in (1 << 20, 1 << 12):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(size)) == size:
                pass
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)
