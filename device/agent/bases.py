"""A base model that an instruction names, fetched from the federation's gateway when the device does not have it.

Its name is the SHA-256 of its manifest, and stands in the signed instruction; the manifest names the SHA-256 of every
file. So nothing else has to be believed of what comes, and what is there once is never fetched again. What the base
says it is, and whether a device runs such layers on its data, is looked at afterwards, as of any base.

A download that breaks off goes on where it was: parts stay until the folder is whole.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import file_digest
from pathlib import Path

import httpx

from skerry.device.service import GatewaySource
from skerry.device.store import MANIFEST, model_store, read_manifest
from skerry.device.yielding import yield_if_asked
from skerry.errors import DiskFullError, InputError
from skerry.fsio import disk_errors, require_space

__all__ = ["BaseFetcher"]

_FOLDER = "/v1/repository/bases"
_COMING = ".fetching"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_FILES, _LONGEST_MANIFEST, _LARGEST = 16, 1 << 20, 1 << 30
_PIECE = 1 << 16


class BaseFetcher:
    """Puts bases into the store of this machine.

    Args:
        connect: opens a line to the repository.
        store: where base models lie; None for the default.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[GatewaySource]], store: Path | None = None) -> None:
        self._connect = connect
        self._store = store or model_store()

    def fetch(self, digest: str) -> None:
        """Have the base of that digest on this machine.

        Raises:
            InputError: it cannot be had: the gateway does not have it, or does not answer now; or what comes is not it.
            YieldedError: the process is to end; another call goes on with what is there.
        """
        final = self._store / digest
        if not _DIGEST.fullmatch(digest) or (final / MANIFEST).exists():
            return
        coming = self._store / _COMING / digest
        try:
            coming.mkdir(parents=True, exist_ok=True)
            with self._connect() as source:
                self._take(source, digest, MANIFEST, coming, digest, _LONGEST_MANIFEST)
                for name, wanted in _files(coming, digest).items():
                    self._take(source, digest, name, coming, wanted, _LARGEST)
            coming.rename(final)
        except (httpx.HTTPError, DiskFullError, OSError) as error:
            raise InputError(f"the base model could not be fetched: {error}", where=digest) from error

    def _take(self, source: GatewaySource, digest: str, name: str, folder: Path, wanted: str, most: int) -> None:
        """One file, whole and checked, or an error; a part of it is gone on with."""
        whole, part = folder / name, folder / f"{name}.part"
        if whole.exists():
            return
        have = part.stat().st_size if part.exists() else 0
        given = {"range": f"bytes={have}-"} if have else {}
        with source.asked(f"{_FOLDER}/{digest}/{name}", given) as answer:
            all_here = answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE  # or too much
            if not all_here and answer.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                raise InputError(
                    f"the gateway does not have this base model ({answer.status_code})",
                    where=f"{digest}/{name}",
                    mend="the operator's `skerry run --engine fleet` puts it there",
                )
            if not all_here:
                _receive(answer, part, most, anew=answer.status_code == httpx.codes.OK)
        if not _is(part, wanted):
            part.unlink(missing_ok=True)
            raise InputError("what came is not the base model that was named", where=f"{digest}/{name}")
        part.rename(whole)


def _receive(answer: httpx.Response, part: Path, most: int, *, anew: bool) -> None:
    """Write what comes to the end of the part, or into a new one."""
    try:
        length = int(answer.headers["content-length"])
    except (KeyError, ValueError):
        raise InputError("the gateway does not say how long a file is", where=part.name) from None
    if length > most:
        raise InputError(f"a file of {length} bytes, more than {most}", where=part.name)
    require_space(part.parent, length)
    with disk_errors(part), part.open("wb" if anew else "ab") as file:
        for piece in answer.iter_raw(_PIECE):
            yield_if_asked()
            file.write(piece)


def _is(path: Path, wanted: str) -> bool:
    """Whether a file has that SHA-256."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == wanted


def _files(folder: Path, digest: str) -> dict[str, str]:
    """Names and digests of the files in a manifest that was checked."""
    named = read_manifest(digest, folder.parent).facts["files"]
    good = all(
        isinstance(wanted, str) and _DIGEST.fullmatch(wanted) and _NAME.fullmatch(name) and name != MANIFEST
        for name, wanted in named.items()
    )
    if not good or len(named) > _MOST_FILES:
        raise InputError("this base model's manifest names files that a device does not take", where=digest)
    return dict(named)
