"""A TCP line that somebody breaks: what a device sends to the gateway goes through it, byte by byte.

In which way it is broken:

``closed``  connections are reset, new ones too;
``silent``  connections stay, and nothing passes in either direction until the line is whole again;
``mute``    what the device sends arrives, and no answer comes back: it does not know whether it was heard;
``slow``    a fifth of a second and 20 kB a second in each direction.
"""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

BROKEN = ("closed", "silent", "mute", "slow")
_WHOLE = "whole"
_PIECE = 1 << 14
_SLOW_S, _SLOW_RATE = 0.2, 20_000


class FaultyLine:
    """From a port of its own to another one of this machine, for the time of a block; whole until it is broken."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._mode = _WHOLE
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._stop, self._passing = asyncio.Event(), asyncio.Event()
        self._passing.set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.port = 0
        self.met = 0
        """How often somebody met that it is broken: a connection was reset, a piece was held, lost or slowed."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def break_it(self, mode: str) -> None:
        """Break the line in that way."""
        self._mode = mode
        if mode == "closed":
            self._loop.call_soon_threadsafe(self._reset)
        if mode == "silent":
            self._loop.call_soon_threadsafe(self._passing.clear)

    def mend(self) -> None:
        """Make it whole; connections from which something was taken away are reset."""
        lossy = self._mode == "mute"
        self._mode = _WHOLE
        self._loop.call_soon_threadsafe(self._passing.set)
        if lossy:
            self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        if self._mode != _WHOLE:
            self.met += bool(self._open)
        for writer in self._open:
            _cut(writer)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        async with server:
            await self._stop.wait()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(self, device: asyncio.StreamReader, to_device: asyncio.StreamWriter) -> None:
        if self._mode == "closed":
            self.met += 1
            _cut(to_device)
            return
        try:
            gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # the gateway is down
            _cut(to_device)
            return
        self._open |= {to_device, to_gateway}
        with suppress(asyncio.CancelledError):  # the block is left
            await asyncio.gather(self._pump(device, to_gateway), self._pump(gateway, to_device, answers=True))
        self._open -= {to_device, to_gateway}
        for writer in (to_device, to_gateway):
            writer.transport.abort()  # most often there is nothing left of it

    async def _pump(self, here: asyncio.StreamReader, there: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await here.read(_PIECE):
                self.met += self._mode in {"silent", "slow"} or (self._mode == "mute" and answers)
                await self._passing.wait()
                if self._mode == "mute" and answers:
                    continue
                if self._mode == "slow":
                    await asyncio.sleep(_SLOW_S + len(data) / _SLOW_RATE)
                there.write(data)
                await there.drain()
        if there.can_write_eof() and not there.is_closing():
            with suppress(OSError):
                there.write_eof()
        there.close()


def _cut(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: the other end is not told that it ended well."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
