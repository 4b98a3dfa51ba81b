"""Opening files of the release repository for whoever asks by name: plain files below one folder and nothing else."""

import os
import stat
from pathlib import Path

__all__ = ["open_below"]


def open_below(root: Path, name: str) -> int:
    """Open a plain file below ``root`` for reading; the caller closes it.

    Args:
        root: the folder.
        name: relative path. Hidden parts are not served, nor is anything that a link leads out of the folder to.

    Returns:
        A file descriptor.

    Raises:
        FileNotFoundError: there is no such file to be served.
    """
    path = Path(name)
    if path.is_absolute() or any(part.startswith(".") for part in path.parts):
        raise _absent(name)
    try:
        base = root.resolve(strict=True)
        target = (base / path).resolve(strict=True)
        if not target.is_relative_to(base):
            raise _absent(name)
        file = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _absent(name) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _absent(name)
    return file


def _absent(name: str) -> FileNotFoundError:
    """Made where it is raised: an error in a variable of its own traceback keeps all in it alive."""
    return FileNotFoundError(f"there is no file {name!r:.200}")
