"""Connections from the gateway to the SuperLink, over loopback: HTTP/1.1, one request at a time on each.

A call costs the gateway a sixth of what it costs with httpx (0.4 instead of 2.5 ms of its one processor), and all of a
fleet's calls go this way. h11 reads the answers, as it reads the devices' requests.
"""

import asyncio
import select
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import h11

__all__ = ["Answered", "SuperlinkLine", "TooLongError"]

_KEPT_S = 1.0  # the SuperLink closes a connection on which nothing comes for five; it may be late, and so may we
_HEADERS = 64 << 10
_OTHERWISE: Final = "application/octet-stream"


class TooLongError(Exception):
    """The answer has more bytes than it may have."""


@dataclass(frozen=True)
class Answered:
    """What the SuperLink said: status, media type and content."""

    status: int
    kind: str
    content: bytes


class SuperlinkLine:
    """For one event loop.

    Args:
        host: of the SuperLink.
        port: of the SuperLink.
        trusted: what its certificate must lead to, which must be for ``host``; None: it speaks without TLS, in tests.
    """

    def __init__(self, host: str, port: int, trusted: ssl.SSLContext | None) -> None:
        self._host, self._port, self._trusted = host, port, trusted
        self._free: list[_Connection] = []

    async def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, longest: int
    ) -> Answered:
        """The answer to one request, however long it takes; the connection of one who does not wait for it is ended.

        Args:
            method: upper case.
            path: ours, never a device's.
            headers: beside ``host`` and ``content-length``; a character is a byte, as Starlette reads them.
            body: whole.
            longest: bytes that the answer's content may have.

        Raises:
            ConnectionError: there is no whole answer. What was asked may have been done all the same.
            TooLongError: the answer has more bytes; it was not read to its end.
        """
        connection = self._kept() or await self._opened()
        given = [("host", f"{self._host}:{self._port}"), ("content-length", str(len(body))), *headers.items()]
        try:
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given]
            answer = await connection.exchange(h11.Request(method=method, target=path, headers=raw), body, longest)
        except BaseException:
            connection.end()
            raise
        if connection.free():
            self._free.append(connection)
        return answer

    def close(self) -> None:
        """End all connections on which nobody waits."""
        while self._free:
            self._free.pop().end()

    def _kept(self) -> "_Connection | None":
        """The connection that was used last; older ones that the SuperLink may be about to close are closed."""
        oldest = asyncio.get_running_loop().time() - _KEPT_S
        while self._free and self._free[0].since < oldest:
            self._free.pop(0).end()
        while self._free:
            connection = self._free.pop()
            if connection.usable():
                return connection
            connection.end()
        return None

    async def _opened(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._trusted)
        except OSError as error:  # an SSLError is one
            raise ConnectionError(f"the SuperLink cannot be reached: {error}") from error
        return connection


class _Connection(asyncio.Protocol):
    """One exchange after the other.

    Attributes:
        since: when the last one was over, by the loop's clock.
        ended: whether there will be none.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS)
        self._answer: asyncio.Future[Answered] | None = None
        self._head: h11.Response | None = None
        self._content = bytearray()
        self._longest = 0
        self.since, self.ended = 0.0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def exchange(self, request: h11.Request, body: bytes, longest: int) -> Answered:
        """Send a request; the answer to it."""
        self._answer, self._longest = self._loop.create_future(), longest
        self._head, self._content = None, bytearray()
        parts = (self._http.send(request), self._http.send(h11.Data(body)), self._http.send(h11.EndOfMessage()))
        self._transport.writelines([part for part in parts if part])
        try:
            return await self._answer
        finally:
            self._answer = None

    def free(self) -> bool:
        """Whether another exchange may follow on the one that is over; if not, the connection is ended."""
        self.since = self._loop.time()
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if done and not self.ended and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            return True
        self.end()
        return False

    def usable(self) -> bool:
        """Whether nothing has come since the last exchange, not even the end, which the loop may not have seen yet."""
        if self.ended or self._transport.is_closing():
            return False
        looks = select.poll()
        looks.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not looks.poll(0)

    def end(self) -> None:
        """Whatever is under way."""
        self.ended = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody asked
            self.end()
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._fail(f"what the SuperLink says is no answer: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the SuperLink has closed the connection: {exc or 'no reason'}")

    def _read(self) -> None:
        while isinstance(event := self._http.next_event(), h11.Event):
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._content += event.data
                if len(self._content) > self._longest:
                    self._over(TooLongError())
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._over(None)
                return

    def _over(self, error: Exception | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is not None or self._head is None:
            self._answer.set_exception(error or ConnectionError("an answer without a head"))
            return
        kind = next((value for name, value in self._head.headers if name == b"content-type"), b"")
        kept = kind.decode("latin-1") or _OTHERWISE
        self._answer.set_result(Answered(self._head.status_code, kept, bytes(self._content)))

    def _fail(self, what: str) -> None:
        self.end()
        self._over(ConnectionError(what))
