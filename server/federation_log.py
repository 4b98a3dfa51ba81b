"""The federation's log beside its runs: where it lies, and whose key signs it.

``<runs>/log`` (:class:`~skerry.security.transparency.log.Log`) outlives runs, as the registry does. What is entered of
a run is in :mod:`~skerry.server.run_statements`, of devices in :mod:`~skerry.server.device_statements`.
"""

from hashlib import sha256
from pathlib import Path

from skerry.errors import InputError, NotPublishedError, RefusedError, SkerryError
from skerry.security.identity import Identity
from skerry.security.locking import exclusive
from skerry.security.transparency.log import ENTRIES, PUBLISHED, Log
from skerry.security.transparency.note import NoteSigner

__all__ = ["FOLDER", "cause", "federation_log", "told"]

FOLDER = "log"
"""The log's folder, in a folder of runs."""

_KEY = "key.json"


def federation_log(runs: Path, *, create: bool = True) -> Log:
    """The log of a folder of runs; its key is made with it.

    Raises:
        InputError: there is none, and it is not to be made.
        RefusedError: its key is lost (``key_lost``), others may use the key file (``open_key_file``), or an entry was
            changed (``chain_broken``, ``rewritten``).
    """
    folder = runs / FOLDER
    begun = any((folder / name).exists() for name in (ENTRIES, PUBLISHED))
    if not create and not begun and not (folder / _KEY).exists():
        raise InputError("there is no log in this folder", where=str(folder), mend="it begins with a run")
    with exclusive(folder / _KEY):
        if not (folder / _KEY).exists():
            if begun:
                raise RefusedError(
                    "key_lost",
                    "the log is there and its key is not; another key would be another log's",
                    where=str(folder / _KEY),
                    mend="restore key.json; where there is no copy, move the folder away: a new log begins",
                )
            Identity.generate(FOLDER).save(folder / _KEY)
    signing = Identity.load(folder / _KEY).signing
    name = sha256(signing.public_key().public_bytes_raw()).hexdigest()[:16]
    return Log(folder, NoteSigner(f"skerry/log/{name}", signing))


def told(error: SkerryError | OSError) -> str:
    """How far entering something went, in a sentence."""
    if isinstance(error, NotPublishedError):
        return error.what
    return f"nothing was entered in the federation's log: {cause(error)}"


def cause(error: SkerryError | OSError) -> str:
    """What an error says of itself."""
    return error.what if isinstance(error, SkerryError) else str(error)
