"""The gateway's routes: these and no others.

``POST /v1/fleet/<call>``            nine calls of the SuperLink's Fleet API (:mod:`~skerry.server.gateway.fleet`)
``POST /v1/bell``                    a device waits for a message (:mod:`~skerry.server.gateway.bell`)
``GET  /v1/repository/<path>``       the release repository (:mod:`~skerry.server.gateway.files`)
``GET  /v1/blobs/<sha256>``          encrypted blobs, by digest
``GET  /v1/log/<path>``              the federation's published log, for auditors
``/.well-known/est/*``               enrolment: four calls of the desk (:mod:`~skerry.server.gateway.enrolment`)
``POST /v1/leave``                   a device leaves the federation for good
``GET  /v1/revocations``             the signed revocation list
``GET  /phone/``, ``/phone/<file>``  the built page for browsers (:mod:`~skerry.server.gateway.web_page`)
``/console/``, ``/v1/console*``      the operator's console, where there is one (:mod:`skerry.server.console`)
``GET  /healthz``, ``/readyz``       whether the gateway is up, and can serve, for whoever starts it

A request passes the door (one spelling of the target), then the reception (address, size, time, signature, rate).
The SuperLink's Control and Runtime APIs have no route, and no request's path is ever sent on.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from skerry.clock import Clock
from skerry.errors import SkerryError
from skerry.security.enrolment import LeavingTransport
from skerry.server.bells import Belfry, Bells, Rope
from skerry.server.devices import Devices, Nodes
from skerry.server.gateway.answers import refusal_answer
from skerry.server.gateway.authentication import Authenticator
from skerry.server.gateway.bell import BellTower
from skerry.server.gateway.door import Door
from skerry.server.gateway.enrolment import enrolment_routes
from skerry.server.gateway.files import Downloads
from skerry.server.gateway.fleet import FleetPassage
from skerry.server.gateway.health import health_routes
from skerry.server.gateway.idle import Idle
from skerry.server.gateway.reception import GatewayLimits, Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.serving import connections
from skerry.server.gateway.superlink import Superlink
from skerry.server.gateway.web_page import BUILT, web_page_routes

__all__ = ["gateway"]

_log = logging.getLogger(__name__)

_WAIT = 5 / 12  # of the connections may wait at the bell, each beside another of the same device


def gateway(
    *,
    superlink: Superlink,
    nodes: Nodes,
    devices: Devices,
    desk: LeavingTransport,
    repository: Path,
    clock: Clock,
    log: Path | None = None,
    limits: GatewayLimits | None = None,
    idle_since: int | None = None,
    page: Path = BUILT,
    bells: Bells | None = None,
    closing: asyncio.Event | None = None,
    console: Callable[[Reception], Sequence[BaseRoute]] | None = None,
    fetched: Callable[[str, str], None] | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        superlink: on loopback.
        nodes: node ids of devices at that SuperLink.
        devices: who is in good standing.
        desk: enrols, renews, lets go.
        repository: folder of releases.
        clock: compared with the devices' clocks.
        log: folder of the federation's published log, shown to auditors if there is one.
        limits: what one party may ask.
        idle_since: since when no other gateway took requests for these devices, ms since the epoch; ``None``: until
            now. What was signed up to five seconds after it is not taken.
        page: folder of the built page for browsers.
        bells: rung by and for the coordinator, if there are any.
        closing: set before the server ends: whoever waits at the bell is let go.
        console: routes of the operator's console, if there is one.
        fetched: is told which device was handed which blob's last byte.
    """
    limits = limits or GatewayLimits()
    limits = replace(limits, bells=min(limits.bells, int(_WAIT * connections())))
    authenticator = Authenticator(devices, clock, idle_since=clock() if idle_since is None else idle_since)
    reception = Reception(authenticator, limits)
    idle = Idle(None if bells is None else Belfry(bells.asked))
    fleet = FleetPassage(superlink, nodes, reception, limits, idle, None if bells is None else Rope(bells.answered))
    downloads = Downloads(repository, log, reception, devices, most=limits.downloads, fetched=fetched)
    routes = [
        Route("/v1/fleet/{call}", fleet.answer, methods=["POST"]),
        Route("/v1/repository/{path:path}", downloads.file, methods=["GET"]),
        Route("/v1/blobs/{digest}", downloads.blob, methods=["GET"]),
        Route("/v1/log/{path:path}", downloads.published, methods=["GET"]),
        *([] if bells is None else [_bell(bells, nodes, reception, limits, closing, fleet)]),
        *enrolment_routes(desk, reception),
        *web_page_routes(reception, page),
        *([] if console is None else console(reception)),
        *health_routes(superlink, devices),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Door, chunk_s=limits.chunk_s)],
        exception_handlers={TurnedAwayError: _turned_away, HTTPException: _not_routed, SkerryError: _failed},
    )
    app.router.redirect_slashes = False
    return app


def _bell(
    bells: Bells,
    nodes: Nodes,
    reception: Reception,
    limits: GatewayLimits,
    closing: asyncio.Event | None,
    fleet: FleetPassage,
) -> Route:
    tower = BellTower(Belfry(bells.asked), nodes, reception, limits, closing or asyncio.Event(), came=fleet.came)
    return Route("/v1/bell", tower.wait, methods=["POST"])


async def _turned_away(request: Request, error: Exception) -> Response:
    assert isinstance(error, TurnedAwayError)
    return refusal_answer(request, error)


async def _failed(request: Request, error: Exception) -> Response:
    """Something of ours cannot be used, such as the registry: said in the log; the device is told to come back."""
    _log.error("%s %s: %s", request.method, request.url.path, error)
    what = "the server cannot do this now"
    return refusal_answer(request, TurnedAwayError(GatewayRefusal.SERVER_FAILED, what, retry_after_s=10.0))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = GatewayRefusal.BAD_METHOD if error.status_code == 405 else GatewayRefusal.NO_SUCH_PLACE
    return refusal_answer(request, TurnedAwayError(reason, "nothing is served here"))
