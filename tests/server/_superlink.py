"""Who says what a test wants in a SuperLink's place, over a real socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def says(
    *answers: bytes, trusted: ssl.SSLContext | None = None, end: bool = False
) -> AsyncIterator[tuple[int, list[list[bytes]]]]:
    """Answers requests in turn, the last answer for all that follow; ``end``: closes the connection after each.

    Yields its port, and the requests as they came, one list for each connection.
    """
    left, heard = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        heard.append(mine)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
                )
                mine.append(head + await reader.readexactly(size))
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                await writer.drain()
                if end:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=trusted, limit=16 << 20)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
