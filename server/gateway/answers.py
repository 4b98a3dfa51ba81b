"""Answers of the gateway, and the headers that all of them carry."""

import math

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from skerry.server.gateway.refusal import TurnedAwayError

__all__ = ["FIXED_HEADERS", "refusal_answer"]

FIXED_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
}


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
