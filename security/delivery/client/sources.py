"""Where a repository is read from: an address, or a folder on a disk or stick. Neither is trusted with anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from skerry.errors import InputError, RunFailedError

__all__ = ["FolderSource", "HttpSource", "Source", "source_of"]

_PIECE = 1 << 16


class Source(Protocol):
    """What a client needs of the place where a repository lies."""

    url: str
    """Prefix of every name, with a slash at the end."""
    fetcher: FetcherInterface
    """Fetches metadata and small targets for the TUF client."""

    def read(self, blob: str, first: int, last: int) -> Iterator[bytes]:
        """Bytes ``first`` to ``last`` (both included) of a blob, in pieces; it may give fewer, more, or others.

        Raises:
            RunFailedError: the blob cannot be read at the moment.
        """


def source_of(place: str, *, ca: Path | None = None) -> Source:
    """The source that an address or a path names.

    Raises:
        InputError: neither an http(s) address nor a folder.
    """
    if place.startswith(("http://", "https://")):
        return HttpSource(place, ca=ca)
    if not Path(place).is_dir():
        raise InputError("there is no repository", where=place, mend="give an http(s) address or a folder")
    return FolderSource(Path(place))


class HttpSource:
    """A plain file server that knows ranges.

    Args:
        url: address of the repository's folder.
        ca: certificates that the server's has to be signed by; ``None`` takes the system's.
        timeout_s: for connecting, and for the wait between two pieces.
    """

    def __init__(self, url: str, *, ca: Path | None = None, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/") + "/"
        timeout = urllib3.Timeout(connect=timeout_s, read=timeout_s)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, ca_certs=str(ca) if ca else None)
        self.fetcher: FetcherInterface = _HttpFetcher(self._pool)

    def read(self, blob: str, first: int, last: int) -> Iterator[bytes]:
        """See :class:`Source`."""
        where = f"{self.url}blobs/{blob}"
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        try:
            response = self._pool.request("GET", where, headers=headers, preload_content=False)
            try:
                if response.status != 206:
                    raise RunFailedError(
                        f"the server answers {response.status} to a range of a blob",
                        where=where,
                        mend="try again later",
                    )
                yield from response.stream(_PIECE, decode_content=False)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise RunFailedError(
                f"the download broke off: {error}", where=where, mend="fetch again: it goes on from here"
            ) from error


class _HttpFetcher(FetcherInterface):
    def __init__(self, pool: urllib3.PoolManager) -> None:
        self._pool = pool

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._pool.request("GET", url, preload_content=False)
        if response.status >= 400:
            response.close()
            raise DownloadHTTPError(f"HTTP status {response.status}", response.status)
        return self._pieces(response)

    @staticmethod
    def _pieces(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from response.stream(_PIECE)
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError("the download broke off") from error
        finally:
            response.close()


class FolderSource:
    """A repository's folder, on this machine or on a medium that was carried here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.url = "folder:///"
        self.fetcher: FetcherInterface = _FolderFetcher(self._folder)

    def read(self, blob: str, first: int, last: int) -> Iterator[bytes]:
        """See :class:`Source`."""
        path = self._folder / "blobs" / blob
        if not path.is_file():
            raise RunFailedError("a blob is missing", where=str(path), mend="copy the repository again")
        with path.open("rb") as file:
            file.seek(first)
            while first <= last and (piece := file.read(min(_PIECE, last + 1 - first))):
                yield piece
                first += len(piece)


class _FolderFetcher(FetcherInterface):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = (self._folder / unquote(url.removeprefix("folder:///"))).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise DownloadHTTPError("there is no such file", 404)
        return self._pieces(path)

    @staticmethod
    def _pieces(path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
