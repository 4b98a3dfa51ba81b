"""Enrolment over HTTPS, EST-shaped (RFC 7030): the desk's calls under its paths, records as bodies.

Who enrols has no certificate yet, so nobody signs these requests; the records that they carry are signed, and the
desk decides. ``cacerts``, ``simpleenroll`` and ``simplereenroll`` stand where EST has them; the challenge before an
enrolment, leaving and the revocation list are ours.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.errors import RefusedError
from skerry.security.enrolment import LeavingTransport
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import turned_away_by_desk

__all__ = ["enrolment_routes"]

_LONGEST = 16 << 10
_EST = "/.well-known/est"
_CBOR, _PEM, _CRL = "application/cbor", "application/x-pem-file", "application/pkix-crl"

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def enrolment_routes(desk: LeavingTransport, reception: Reception) -> list[Route]:
    """The six routes.

    Args:
        desk: answers; it is called in a few threads of its own, so that a crowd that enrols holds up nobody else.
        reception: holds strangers to sizes, times and rates.
    """
    threads = ThreadPoolExecutor(4, thread_name_prefix="desk")

    def posted(call: Callable[[bytes], bytes]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            body = await reception.stranger(request, body_limit=_LONGEST)
            try:
                answer = await asyncio.get_running_loop().run_in_executor(threads, call, body)
            except RefusedError as error:
                raise turned_away_by_desk(error) from error
            return Response(answer, headers=FIXED_HEADERS, media_type=_CBOR)

        return endpoint

    def got(call: Callable[[], bytes], kind: str) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            await reception.stranger(request, body_limit=0)
            answer = await asyncio.get_running_loop().run_in_executor(threads, call)
            return Response(answer, headers=FIXED_HEADERS, media_type=kind)

        return endpoint

    return [
        Route(f"{_EST}/cacerts", got(desk.authorities, _PEM), methods=["GET"]),
        Route(f"{_EST}/challenge", posted(desk.challenge), methods=["POST"]),
        Route(f"{_EST}/simpleenroll", posted(desk.enrol), methods=["POST"]),
        Route(f"{_EST}/simplereenroll", posted(desk.renew), methods=["POST"]),
        Route("/v1/leave", posted(desk.leave), methods=["POST"]),
        Route("/v1/revocations", got(desk.revocations, _CRL), methods=["GET"]),
    ]
