"""Server-sent events: what is known, then what changes, for as long as the session goes on.

Facts are looked at while anybody has a stream open, by one look for all, in a thread of its own; nobody's stream costs
the servers nothing when it is closed. Nothing is queued for a slow reader: it is sent what came after its last event,
or everything again, and let go by the gateway's door when it takes nothing for half a minute.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from skerry.clock import Clock
from skerry.errors import RegistryError
from skerry.server.console.feed import Event, Facts, Feed
from skerry.server.gateway.answers import FIXED_HEADERS

__all__ = ["LOOK_S", "Broadcast", "EventStream"]

_log = logging.getLogger(__name__)

LOOK_S = 0.2
_ALIVE_S = 10.0
_RETRY_MS = 1000


class Broadcast:
    """Keeps a feed up to date while somebody listens.

    Args:
        look: reads the facts; called in one thread, never twice at once.
        clock: ms since the epoch.
        closing: set before the server ends.
    """

    def __init__(self, look: Callable[[], Facts], clock: Clock, closing: asyncio.Event) -> None:
        self.feed = Feed()
        self._look = look
        self._clock = clock
        self._closing = closing
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="console")
        self._ready = asyncio.Event()

    async def events(self, last: str, goes_on: Callable[[], Awaitable[bool]]) -> AsyncIterator[Event | None]:
        """What comes after the event of that name; ``None`` now and then, where nothing does.

        Ends when ``goes_on`` says no, or with the server.

        Raises:
            RegistryError: as ``goes_on``, which cannot say it now.
        """
        self._listeners += 1
        try:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._keep_looking())
            while not await self._within(self._ready.wait(), _ALIVE_S) and not self._closing.is_set():
                if not await goes_on():
                    return
                yield None
            number = self.feed.number_of(last)
            if number is None:
                number = -1
            while await goes_on() and not self._closing.is_set():
                events = self.feed.after(number)
                for event in [self.feed.everything(self._clock())] if events is None else events:
                    number = event.number
                    yield event
                if not await self._within(self.feed.news(number), _ALIVE_S):
                    yield None
        finally:
            self._listeners -= 1

    async def _within(self, awaited: Awaitable[object], seconds: float) -> bool:
        """Whether it came, before the seconds were over and the server ends."""
        wanted, closing = asyncio.ensure_future(awaited), asyncio.ensure_future(self._closing.wait())
        try:
            done, _ = await asyncio.wait({wanted, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return wanted in done
        finally:
            wanted.cancel()
            closing.cancel()

    async def _keep_looking(self) -> None:
        loop, told = asyncio.get_running_loop(), False
        while self._listeners and not self._closing.is_set():
            begun = loop.time()
            try:
                self.feed.update(await loop.run_in_executor(self._thread, self._look), self._clock())
                self._ready.set()
                told = False
            except Exception:  # noqa: BLE001 - a file of a kind that nobody foresaw must not end everybody's view for good
                if not told:
                    _log.exception("the console cannot look")
                told = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), max(0.02, LOOK_S - (loop.time() - begun)))


class EventStream:
    """The answer whose body are a broadcast's events; ends with its connection.

    Args:
        events: see :meth:`Broadcast.events`.
        feed: names them.
    """

    def __init__(self, events: AsyncIterator[Event | None], feed: Feed) -> None:
        self._events = events
        self._feed = feed

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; ASGI."""
        headers = {**FIXED_HEADERS, "content-type": "text/event-stream; charset=utf-8"}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            gone.cancel()
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, send: Send) -> None:
        async def part(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        await part(f"retry: {_RETRY_MS}\n\n".encode())
        try:
            async for event in self._events:
                if event is None:
                    await part(b": nothing new\n\n")
                    continue
                head = f"id: {self._feed.name}-{event.number}\nevent: {event.kind}\ndata: "
                await part(head.encode() + event.data + b"\n\n")  # JSON has no line ends
        except RegistryError as error:
            _log.error("the console cannot say who is signed in: %s", error)
            await part(b"", more=False)  # not over: a browser asks again by itself
            return
        await part(b"event: over\ndata: {}\n\n", more=False)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
