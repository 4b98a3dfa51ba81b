"""Serving the gateway over TLS: uvicorn with bounded headers, a bounded number of connections, and one process.

h11 reads the requests: it bounds the size of headers and refuses what can be read in two ways, which a public port
needs more than speed. Bodies of downloads are handed over in chunks of 1 MiB, so that parsing costs them nothing.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["event_loops", "gateway_server"]

_HEADERS = 16 << 10
_HEAD_S = 10.0
_CONNECTIONS = 1024


class _Impatient(H11Protocol):
    """Closes a connection whose next request has begun and not arrived whole; uvicorn itself would wait for ever.

    An idle connection is closed by uvicorn, whose timer stops with the first byte; ours begins there.
    """

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            self._end()
        elif self._head is None:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._head = self.loop.call_later(_HEAD_S, self.transport.close)

    def _end(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def gateway_server(app: ASGIApp, *, certificate: Path, key: Path) -> uvicorn.Server:
    """A server that is ready to run on sockets of the caller (``server.run(sockets=[…])``).

    Args:
        app: the ASGI application.
        certificate: PEM chain that clients are shown.
        key: its private key.
    """
    config = uvicorn.Config(
        app,
        http=_Impatient,
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
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADERS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_context_factory=_tls,
    )
    return uvicorn.Server(config)


def event_loops() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop that uvicorn itself would take: uvloop's where it is installed."""
    return uvicorn.Config("").get_loop_factory()


def _tls(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
