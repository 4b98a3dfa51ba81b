"""Serving the gateway over TLS: uvicorn with bounded headers, a bounded number of connections, and one process.

h11 reads the requests: it bounds the size of headers and refuses what can be read in two ways, which a public port
needs more than speed. Bodies of downloads are handed over in chunks of 1 MiB, so that parsing costs them nothing.
"""

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from skerry.server.gateway.public_certificate import PublicCertificate, hardened
from skerry.server.limits import Room

__all__ = ["connections", "event_loops", "gateway_server"]

_log = logging.getLogger(__name__)

_HEADERS = 16 << 10
_HEAD_S = 10.0
_CONNECTIONS = 12_288  # two for a device that waits at the bell
_CONNECTIONS_EACH = 512  # of one address, behind which many devices may be
_OTHER_FILES = 256
_TLS_S = 10.0  # for the handshake


class _Impatient(H11Protocol):
    """Closes what uvicorn itself would keep for ever: one connection too many, and a request that is not whole.

    An idle connection is closed by uvicorn, whose timer stops with the first byte; ours begins there. A connection
    whose request was answered before all of it came is closed with the answer: what comes next has no meaning.
    """

    def __init__(self, room: Room, **uvicorn_s: Any) -> None:
        super().__init__(**uvicorn_s)
        self._room = room
        self._place = ExitStack()
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        if self._place.enter_context(self._room.hold(1, self.client[0] if self.client else "")):
            self._begin()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            self._end()
        elif self._head is None:
            self._begin()

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._place.close()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._head = self.loop.call_later(_HEAD_S, self.transport.close)

    def _end(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class _Server(uvicorn.Server):
    """Listens on sockets of the caller, with bounds that uvicorn has no options for."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        _allow_files(_CONNECTIONS + _OTHER_FILES)
        room = Room(connections(), each=_CONNECTIONS_EACH)

        def connection() -> _Impatient:
            return _Impatient(room, config=self.config, server_state=self.server_state, app_state={})

        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                connection,
                sock=listening,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=_TLS_S,
            )
            for listening in sockets or ()
        ]
        self.started = True


def gateway_server(
    app: ASGIApp, *, certificate: Path, key: Path, public: PublicCertificate | None = None
) -> uvicorn.Server:
    """A server that is ready to run on sockets of the caller (``server.run(sockets=[…])``).

    Args:
        app: the ASGI application.
        certificate: PEM chain that clients are shown.
        key: its private key.
        public: shown instead to who asks for one of its names.
    """

    def tls(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = hardened(default())
        if public is not None:
            public.serve(context)
        return context

    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_HEADERS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_context_factory=tls,
    )
    return _Server(config)


def connections() -> int:
    """How many may be open at once: each is a file, of which the system lets a process hold so many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if hard == resource.RLIM_INFINITY else max(1, min(_CONNECTIONS, hard - _OTHER_FILES))


def _allow_files(wanted: int) -> None:
    """Let this process hold so many open: by default it may hold fewer than it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        _log.warning("this process may hold %d files open, not %d: fewer devices are served at once", granted, wanted)


def event_loops() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop that uvicorn itself would take: uvloop's where it is installed."""
    return uvicorn.Config("").get_loop_factory()
