"""The federation's authority as it is at the moment: a server that runs for months goes on with a new issuing key."""

import logging
from pathlib import Path
from threading import Lock

from skerry.errors import SkerryError
from skerry.security.certificates import Authority

__all__ = ["CurrentAuthority"]

_log = logging.getLogger(__name__)
_FILES = ("issuer.pem", "issuer.key")


class CurrentAuthority:
    """Called, gives the authority of a folder; read again when its files have changed. Safe for threads.

    While the files cannot be read, as when a copy is being put back, it is the authority that was read last: it is
    said in the log, and certificates go on under a key that the root has vouched for.

    Raises:
        InputError: there is no authority, or it cannot be read the first time.
        RefusedError: others than the owner may use the issuing key (``open_key_file``).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._seen = self._files()
        self._known = Authority.open(folder)

    def __call__(self) -> Authority:
        """The authority of this moment."""
        with self._lock:
            files = self._files()
            if files != self._seen:
                try:
                    self._known = Authority.open(self._folder)
                except SkerryError as error:
                    _log.warning("the issuing key is read again later: %s", error)
                else:
                    self._seen = files
            return self._known

    def _files(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells a file from the one that was there before; taken before they are read."""
        return tuple(_file(self._folder / name) for name in _FILES)


def _file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
