"""Ranged downloads: files below one folder, a chunk at a time, from any offset (RFC 9110, sections 13 and 14).

One open file serves both its description and its bytes, so a file that is replaced meanwhile cannot be mixed. A blob is
named by the SHA-256 of its content, which is also its entity tag: who resumes knows that it is still the same. Who
asks is looked up again before each chunk: a download ends when its device is revoked or its certificate expires.

Blobs are for devices. What is said of releases (TUF's metadata; manifests, statements, bills of materials) is for
auditors too, and the federation's published log, which holds hashes and a signed checkpoint, is for auditors only.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from skerry.security.certificates import Role
from skerry.server.devices import DEVICES, READERS, Devices
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.repository_files import open_below

__all__ = ["Downloads", "Span", "requested_span"]

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_AUDITORS = frozenset({Role.AUDITOR})
_SAID_OF_RELEASES = ("metadata/", "targets/")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``stop`` (not included) of a file."""

    start: int
    stop: int


def requested_span(header: str | None, size: int) -> Span | None:
    """What a ``Range`` header asks for of a file of ``size`` bytes.

    Returns:
        ``None`` for the whole file: no header, another unit, or several ranges, which a server may ignore.

    Raises:
        TurnedAwayError: the range begins behind the end (``bad_range``).
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
        if found[2] and int(found[2]) < start:
            return None  # invalid, and to be ignored
    if start >= size or stop <= start:
        raise TurnedAwayError(GatewayRefusal.BAD_RANGE, f"the file has {size} bytes")
    return Span(start, stop)


class Downloads:
    """The endpoints of one release repository; one for a gateway, on its event loop.

    Args:
        root: the repository's folder; blobs lie in ``root/blobs/<sha256>``. Hidden files are not served, nor is
            anything that a link leads out of the folder to.
        log: folder of the federation's published log, if there is one.
        reception: lets requests in.
        devices: who is in good standing.
        most: downloads of one device at once.
        fetched: is told of each blob, by its digest, whose last byte a device was handed; called in a thread.
    """

    def __init__(
        self,
        root: Path,
        log: Path | None,
        reception: Reception,
        devices: Devices,
        *,
        most: int,
        fetched: Callable[[str, str], None] | None = None,
    ) -> None:
        self._root = root
        self._log = log
        self._reception = reception
        self._devices = devices
        self._most = most
        self._fetched = fetched
        self._running: Counter[str] = Counter()

    async def file(self, request: Request) -> Response:
        """``/v1/repository/<path>``."""
        path = request.path_params["path"]
        roles = READERS if path.startswith(_SAID_OF_RELEASES) else DEVICES
        return await self._answer(request, self._root, path, roles)

    async def published(self, request: Request) -> Response:
        """``/v1/log/<path>``."""
        if self._log is None:
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, "no log is published here")
        return await self._answer(request, self._log, request.path_params["path"], _AUDITORS)

    async def blob(self, request: Request) -> Response:
        """``/v1/blobs/<sha256>``."""
        digest = request.path_params["digest"]
        if not _DIGEST.fullmatch(digest):
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, "a blob is named by 64 hexadecimal digits")
        return await self._answer(request, self._root, f"blobs/{digest}", DEVICES, digest)

    async def _answer(
        self, request: Request, root: Path, path: str, roles: Collection[Role], digest: str | None = None
    ) -> Response:
        device, _ = await self._reception.device(request, roles=roles)
        try:
            file = await asyncio.to_thread(open_below, root, path)
        except FileNotFoundError as error:
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, "there is no such file") from error
        with ExitStack() as held:
            held.callback(os.close, file)
            about = os.fstat(file)
            tag = f'"{digest or f"{about.st_ino:x}-{about.st_size:x}-{about.st_mtime_ns:x}"}"'
            headers = {**FIXED_HEADERS, "etag": tag, "accept-ranges": "bytes"}
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            self._begin(device.name)
            held.callback(self._end, device.name)
            wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
            span = requested_span(wanted, about.st_size)
            headers["content-type"] = "application/octet-stream"
            if span is not None:
                headers["content-range"] = f"bytes {span.start}-{span.stop - 1}/{about.st_size}"
            status = 200 if span is None else 206
            span = span or Span(0, about.st_size)

            def chunk(at: int, size: int) -> bytes:
                """The next bytes; none when the file was cut short, or for a device that lost its standing."""
                return os.pread(file, size, at) if self._devices.find(device.name, roles) == device else b""

            last = span.stop == about.st_size

            def taken() -> None:
                """Who has a blob's last byte has all of it, or had the rest before."""
                if self._fetched is not None and digest is not None and last:
                    self._fetched(device.name, digest)

            return _Streamed(chunk, span, status, headers, held=held.pop_all(), taken=taken)

    def _begin(self, device: str) -> None:
        if self._running[device] >= self._most:
            raise TurnedAwayError(GatewayRefusal.TOO_MANY, "the device downloads too much at once", retry_after_s=1.0)
        self._running[device] += 1

    def _end(self, device: str) -> None:
        self._running[device] -= 1
        if not self._running[device]:
            del self._running[device]


class _Streamed(Response):
    """Part of an open file, a chunk at a time; lets go of what is held for it in the end.

    Args:
        chunk: reads from an offset at most so many bytes; none ends the connection.
        taken: called when all of it was handed over.
    """

    def __init__(
        self,
        chunk: Callable[[int, int], bytes],
        span: Span,
        status: int,
        headers: dict[str, str],
        *,
        held: ExitStack,
        taken: Callable[[], None],
    ) -> None:
        super().__init__(None, status, {**headers, "content-length": str(span.stop - span.start)})
        self._chunk = chunk
        self._span = span
        self._held = held
        self._taken = taken

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD" or self._span.start == self._span.stop:
                await send({"type": "http.response.body", "body": b""})
                return
            await self._stream(send)

    async def _stream(self, send: Send) -> None:
        at = self._span.start
        while at < self._span.stop:
            data = await asyncio.to_thread(self._chunk, at, min(_CHUNK, self._span.stop - at))
            if not data:
                return  # the connection ends before Content-Length, which the reader sees
            at += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": at < self._span.stop})
        await asyncio.to_thread(self._taken)
