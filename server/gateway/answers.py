"""Answers of the gateway, and the headers that all of them carry."""

import math
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from skerry.server.gateway.refusal import TurnedAwayError

__all__ = ["FIXED_HEADERS", "HELD", "InParts", "refusal_answer", "until_sent"]

HELD = "skerry.held"
"""Where the door puts, in a request's scope, what :func:`until_sent` gives."""

_PART = 64 << 10

FIXED_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
}


def until_sent(request: Request) -> ExitStack:
    """What is entered here is held until the request's answer was taken, or its connection is gone."""
    held: ExitStack = request.scope[HELD]
    return held


class InParts(Response):
    """An answer that is handed over in parts of 64 KiB, each when the reader has taken what came before.

    In one piece, uvicorn would take it at once and keep it for as long as the reader likes.
    """

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for at in range(0, len(body), _PART):
            await send({"type": "http.response.body", "body": bytes(body[at : at + _PART]), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def refusal_answer(request: Request, error: TurnedAwayError) -> Response:
    """The JSON of a refusal: ``{"error": {"reason", "what"}}``.

    What is left of the request's body is not read: the connection ends, so that nobody sends for nothing.
    """
    headers = dict(FIXED_HEADERS)
    if request.method == "POST" or request.headers.get("content-length", "0") != "0":
        headers["connection"] = "close"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return JSONResponse({"error": {"reason": error.reason, "what": error.what}}, error.status, headers)
