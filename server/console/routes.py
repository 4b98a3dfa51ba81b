"""The console's routes.

``GET  /console/…``                the page: files that are the same for everybody
``POST /v1/console/sign-in``       a link's token in, a session in a cookie out
``GET  /v1/console/ways``          which OpenID provider lets people in, if one does
``POST /v1/console/oidc/begin``    where to go for it
``POST /v1/console/oidc/finish``   the provider's answer in, a session in a cookie out
``GET  /v1/console/session``       who is signed in, and the secret that changes have to repeat
``POST /v1/console/sign-out``      the session ends
``GET  /v1/console/events``        everything, then what changes, as server-sent events
``POST /v1/console/act/<action>``  an operator's decision (:mod:`~skerry.server.console.actions`)
``GET  /v1/console-link``          an operator or auditor of the federation, whose key signed the request, gets a link
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from skerry.clock import Clock
from skerry.errors import InputError, RefusedError, SkerryError
from skerry.server.console.access import MEMBERS, Access
from skerry.server.console.actions import ACTIONS, decide
from skerry.server.console.links import Admitted, ConsoleRole, Links
from skerry.server.console.oidc_routes import oidc_routes
from skerry.server.console.overview import Overview
from skerry.server.console.sessions import COOKIE, LONGEST_S, Session, Sessions
from skerry.server.console.stream import Broadcast, EventStream
from skerry.server.devices import Devices
from skerry.server.federation_home import FederationHome
from skerry.server.gateway.answers import FIXED_HEADERS, until_sent
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.web_page import page_routes
from skerry.server.limits import Room

if TYPE_CHECKING:  # what it needs is part of the extra `oidc`
    from skerry.server.console.oidc import OidcSignIn

__all__ = ["PAGE", "Console"]

PAGE = Path(__file__).with_name("web")
"""The page's files, as they are written: nothing builds them."""

_STREAMS = 64
_STREAMS_EACH = 4
_DECISIONS = 4
_HEADERS = {**FIXED_HEADERS, "cross-origin-resource-policy": "same-origin"}
_ANYBODY = frozenset(ConsoleRole)
_OPERATORS = frozenset({ConsoleRole.OPERATOR})


class Console:
    """The console of a federation, on the gateway's event loop.

    Args:
        home: of the federation.
        devices: which members are in good standing.
        clock: ms since the epoch.
        closing: set before the server ends; nobody's stream goes on then.
        sessions: who is signed in; nobody by default.
        oidc: lets people in whom an OpenID provider knows.
    """

    def __init__(
        self,
        home: FederationHome,
        devices: Devices,
        clock: Clock,
        closing: asyncio.Event,
        *,
        sessions: Sessions | None = None,
        oidc: "OidcSignIn | None" = None,
    ) -> None:
        self._home = home
        self._devices = devices
        self._clock = clock
        self._sessions = sessions or Sessions()
        self._oidc = oidc
        self._links = Links(home.console, clock)
        self._broadcast = Broadcast(Overview(home.runs, clock).look, clock, closing)
        self._streams = Room(_STREAMS, each=_STREAMS_EACH)
        self._deciding = ThreadPoolExecutor(_DECISIONS, thread_name_prefix="decision")  # publishing takes its time

    def routes(self, reception: Reception) -> list[BaseRoute]:
        """For a gateway whose reception this is."""
        self._reception = reception
        self._access = Access(self._sessions, reception, self._devices)
        return [
            Route("/v1/console/sign-in", self._sign_in, methods=["POST"]),
            Route("/v1/console/ways", self._ways, methods=["GET"]),
            *([] if self._oidc is None else oidc_routes(self._oidc, self._access, self._begin)),
            Route("/v1/console/session", self._session, methods=["GET"]),
            Route("/v1/console/sign-out", self._sign_out, methods=["POST"]),
            Route("/v1/console/events", self._events, methods=["GET"]),
            Route("/v1/console/act/{action}", self._act, methods=["POST"]),
            Route("/v1/console-link", self._link, methods=["GET"]),
            *page_routes("/console", PAGE, reception),
        ]

    async def _sign_in(self, request: Request) -> Response:
        token = (await self._access.arrival(request)).get("token")
        admitted = await asyncio.to_thread(self._links.take, token) if isinstance(token, str) else None
        if admitted is None:
            self._access.failed(request)
            raise TurnedAwayError(GatewayRefusal.BAD_LINK, "the link was used, is too old, or never was one")
        return self._begin(admitted)

    def _begin(self, admitted: Admitted) -> Response:
        """A new session, and its cookie."""
        cookie, session = self._sessions.begin(admitted)
        answer = _told(session)
        answer.set_cookie(
            COOKIE, cookie, max_age=int(LONGEST_S), path="/", secure=True, httponly=True, samesite="strict"
        )
        return answer

    async def _ways(self, request: Request) -> Response:
        await self._reception.stranger(request, body_limit=0)
        return JSONResponse({"oidc": None if self._oidc is None else self._oidc.settings.called}, headers=_HEADERS)

    async def _session(self, request: Request) -> Response:
        return _told(await self._access.reader(request))

    async def _sign_out(self, request: Request) -> Response:
        session, _ = await self._access.actor(request, roles=_ANYBODY)
        self._sessions.end(session.key)
        answer = JSONResponse({}, headers=_HEADERS)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    async def _events(self, request: Request) -> ASGIApp:
        session = await self._access.reader(request)
        if not until_sent(request).enter_context(self._streams.hold(1, session.key)):
            raise TurnedAwayError(GatewayRefusal.BUSY, "too many look at once", retry_after_s=5.0)
        last = request.headers.get("last-event-id", "")
        events = self._broadcast.events(last, lambda: self._access.goes_on(session))
        return EventStream(events, self._broadcast.feed)

    async def _act(self, request: Request) -> Response:
        session, given = await self._access.actor(request, roles=_OPERATORS)
        action = request.path_params["action"]
        if action not in ACTIONS:
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, "there is no such action")
        try:
            note = await asyncio.get_running_loop().run_in_executor(
                self._deciding, decide, action, self._home.runs, self._clock, session.admitted.who, given
            )
        except SkerryError as error:
            return _failed(error)
        return JSONResponse({"note": note}, headers=_HEADERS)

    async def _link(self, request: Request) -> Response:
        """A link for a member who signed for it with the device key, by the gateway's own profile (ADR 49)."""
        member, _ = await self._reception.device(request, roles=frozenset(MEMBERS))
        role = MEMBERS[member.role]
        token = await asyncio.to_thread(self._links.make, Admitted(member.name, role, member.name))
        return JSONResponse({"token": token, "role": role.value}, headers=_HEADERS)


def _failed(error: SkerryError) -> JSONResponse:
    """The decision's own refusal or failure, in its words: 409, or 400 for what was given wrongly, or 500."""
    told = {"reason": getattr(error, "reason", "bad_input" if isinstance(error, InputError) else "failed")}
    told |= {"what": error.what, "mend": error.mend, "command": getattr(error, "command", None)}
    status = 409 if isinstance(error, RefusedError) else 400 if isinstance(error, InputError) else 500
    return JSONResponse({"error": told}, status, _HEADERS)


def _told(session: Session) -> JSONResponse:
    admitted = session.admitted
    told = {"who": admitted.who, "role": admitted.role.value, "csrf": session.csrf}
    return JSONResponse(told, headers=_HEADERS)
