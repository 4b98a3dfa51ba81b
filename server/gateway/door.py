"""What every request must be like before anybody looks at it: one spelling of the target, no way around the routes.

A target is an absolute path of plain segments; alone the pages' addresses ``/phone/`` and ``/console/`` end in a slash.
Percent signs, query strings, dots as segments, empty segments, backslashes and other schemes are refused instead of
normalized, so what is routed here is, byte for byte, what was asked for. Protocol upgrades, and bodies where none
belongs, are refused as well. On the way out, a reader who takes nothing is let go.
"""

import asyncio
import re
from contextlib import ExitStack

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skerry.server.gateway.answers import HELD, refusal_answer
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["Door"]

_TARGET = re.compile(rb"/|/phone/|/console/|(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")
_LONGEST = 512


class _NotTakenError(Exception):
    """The reader did not take a part of the answer in time."""


class Door:
    """ASGI middleware; see the module.

    Args:
        app: what is behind the door.
        chunk_s: seconds for a reader to take one part of an answer.
    """

    def __init__(self, app: ASGIApp, *, chunk_s: float) -> None:
        self._app = app
        self._chunk_s = chunk_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer it here."""
        if scope["type"] != "http":
            return  # uvicorn is told to ask for nothing else
        try:
            _check(scope)
        except TurnedAwayError as error:
            await refusal_answer(Request(scope), error)(scope, receive, send)
            return

        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._chunk_s):
                    await send(message)
            except TimeoutError as error:
                raise _NotTakenError from error

        with ExitStack() as held:
            try:
                await self._app({**scope, HELD: held}, receive, in_time)
            except _NotTakenError:
                return  # uvicorn closes the connection of an answer that is not whole


def _check(scope: Scope) -> None:
    raw: bytes = scope["raw_path"]
    if len(raw) > _LONGEST or not _TARGET.fullmatch(raw) or scope["query_string"]:
        raise TurnedAwayError(GatewayRefusal.BAD_TARGET, "a target is a plain absolute path without a query")
    if "upgrade" in Headers(scope=scope):
        raise TurnedAwayError(GatewayRefusal.BAD_TARGET, "no protocol is upgraded here")
    if scope["method"] not in {"GET", "HEAD", "POST"}:
        raise TurnedAwayError(GatewayRefusal.BAD_METHOD, "only GET, HEAD and POST are answered")
    if scope["method"] != "POST" and Headers(scope=scope).get("content-length", "0") != "0":
        raise TurnedAwayError(GatewayRefusal.TOO_LARGE, "a GET or HEAD has no body")
