"""A base model that an instruction names, fetched from the federation's gateway when the device does not have it.

Its name is the SHA-256 of its manifest, and stands in the signed instruction; the manifest names the SHA-256 of every
file. So nothing else has to be believed of what comes, and what is there and whole is not fetched again. What the base
says it is, and whether a device runs such layers on its data, is looked at afterwards, as of any base.

A download that breaks off goes on where it was: parts stay until the folder is whole. A folder gets its name when all
of it is on stable storage; files that a power cut or a bad card has damaged all the same are found by their digests,
and those alone are fetched again. A gateway that cannot answer now is asked again later, as is one whose answer a full
disk did not take; only what it says that it does not have, or what is not what was named, is final.
"""

import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import file_digest
from pathlib import Path

import httpx

from skerry.device.service import GatewaySource
from skerry.device.store import MANIFEST, model_store, read_manifest, whole
from skerry.device.yielding import NotYetError, yield_if_asked
from skerry.errors import DiskFullError, InputError
from skerry.fsio import disk_errors, require_space, sync_files, sync_folder

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
            InputError: it cannot be had: the gateway does not have it, what comes is not it, or the disk fails.
            NotYetError: the gateway does not answer or says that it cannot now, or the disk has no room.
            YieldedError: the process is to end; as after all others, another call goes on with what is there.
        """
        if not _DIGEST.fullmatch(digest) or whole(digest, self._store, read_manifest) is not None:
            return
        final, coming = self._store / digest, self._store / _COMING / digest
        try:
            with disk_errors(self._store):
                self._fetch(digest, final, coming)
        except (httpx.HTTPError, DiskFullError) as error:
            raise NotYetError(f"the base model could not be fetched: {error}") from error
        except OSError as error:
            raise InputError(f"the base model could not be fetched: {error}", where=digest) from error

    def _fetch(self, digest: str, final: Path, coming: Path) -> None:
        coming.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():  # damaged: what of it is good is kept
            shutil.rmtree(coming, ignore_errors=True)
            final.rename(coming)
        coming.mkdir(exist_ok=True)
        with self._connect() as source:
            self._take(source, digest, MANIFEST, coming, digest, _LONGEST_MANIFEST)
            for name, wanted in _files(coming, digest).items():
                self._take(source, digest, name, coming, wanted, _LARGEST)
        sync_files(coming)
        coming.rename(final)
        sync_folder(self._store)

    def _take(self, source: GatewaySource, digest: str, name: str, folder: Path, wanted: str, most: int) -> None:
        """One file, whole and checked, or an error; a part of it is gone on with."""
        target, part = folder / name, folder / f"{name}.part"
        if _is(target, wanted):
            return
        for _ in range(2):
            begun = part.exists()
            self._go_on(source, f"{digest}/{name}", part, most)
            if _is(part, wanted):
                part.rename(target)
                return
            part.unlink(missing_ok=True)
            if not begun:  # all of it came now; else what was there may have been damaged
                break
        raise InputError("what came is not the base model that was named", where=f"{digest}/{name}")

    def _go_on(self, source: GatewaySource, path: str, part: Path, most: int) -> None:
        """Fetch what a part lacks."""
        have = part.stat().st_size if part.exists() else 0
        given = {"range": f"bytes={have}-"} if have else {}
        with source.asked(f"{_FOLDER}/{path}", given) as answer:
            status = answer.status_code
            if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it is here, or too much
                return
            if status == httpx.codes.NOT_FOUND:
                raise InputError(
                    "the gateway does not have this base model",
                    where=path,
                    mend="the operator's `skerry run --engine fleet` puts it there",
                )
            if status not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                raise NotYetError(f"the gateway does not give the base model now ({status})")
            _receive(answer, part, most, anew=status == httpx.codes.OK)


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
    """Whether a file is there, can be read, and has that SHA-256."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest() == wanted
    except OSError:
        return False


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
