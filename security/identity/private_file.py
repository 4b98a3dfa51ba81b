"""Files of secrets: read only when nobody but their owner can have read or changed them."""

import os
import stat
from pathlib import Path

from skerry.errors import InputError, RefusedError

__all__ = ["read_private"]

_LONGEST = 1 << 16


def read_private(path: Path) -> bytes:
    """The content of a key file.

    Raises:
        InputError: there is none, or it is too long to be one.
        RefusedError: others than the owner may read or change it (``open_key_file``).
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_LONGEST + 1)
    except FileNotFoundError as error:
        mend = "check the path; the keys of a device are made by `skerry device enrol`"
        raise InputError("there is no key file", where=str(path), mend=mend) from error
    if mode & 0o077:
        raise RefusedError(
            "open_key_file",
            f"the key file has permissions {mode:04o}; others than its owner may use it",
            where=str(path),
            mend="if nobody can have read it: chmod 600; otherwise make new keys",
        )
    if len(data) > _LONGEST:
        raise InputError("the file is not a key file", where=str(path), mend="make new keys")
    return data
