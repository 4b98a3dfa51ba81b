"""What a request at the console must be: from the console's own page, of a session that goes on, in the right role.

Three bars against a foreign page that makes a browser ask (cross-site request forgery), each enough by itself: the
cookie is ``SameSite=Strict``; ``Origin`` and ``Sec-Fetch-Site`` must be the gateway's own; and what changes something
repeats a secret in a header that only the page was told.
"""

import asyncio
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server.console.links import ConsoleRole
from skerry.server.console.sessions import COOKIE, Session, Sessions
from skerry.server.devices import EVERYBODY, Devices
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.limits import Buckets, Rate

__all__ = ["MEMBERS", "Access"]

MEMBERS = {Role.OPERATOR: ConsoleRole.OPERATOR, Role.AUDITOR: ConsoleRole.VIEWER}
"""Members of the federation who may look, and as what."""

_FAILURES = Rate(per_s=0.5, burst=20.0)  # of one address to sign in
_REQUESTS = Rate(per_s=10.0, burst=60.0)
_BODY = 4096
_JSON = "application/json"
_PATIENCE_S = 5.0  # with the registry
_LOOKING = 2  # threads that ask the registry, which may be far away: the gateway's own are for requests of devices


class Access:
    """One for a console.

    Args:
        sessions: who is signed in.
        reception: holds addresses to sizes and rates.
        devices: which members are in good standing.
    """

    def __init__(self, sessions: Sessions, reception: Reception, devices: Devices) -> None:
        self._sessions = sessions
        self._reception = reception
        self._devices = devices
        self._failures = Buckets(_FAILURES)
        self._requests = Buckets(_REQUESTS)
        self._looking = ThreadPoolExecutor(_LOOKING, thread_name_prefix="standing")

    async def arrival(self, request: Request) -> dict[str, Any]:
        """What somebody who signs in says.

        Raises:
            TurnedAwayError: not from the console's page, malformed, or too many failed from this address.
        """
        body = await self._reception.stranger(request, body_limit=_BODY)
        _require_own_page(request)
        _spare(self._failures.wait_s(_address(request)))
        return _document(request, body)

    def failed(self, request: Request) -> None:
        """Count that somebody did not get in."""
        self._failures.take(_address(request))

    async def reader(self, request: Request) -> Session:
        """Who asks to be shown something.

        Raises:
            TurnedAwayError: see the module.
            RegistryError: whether it goes on cannot be said now: ask again.
        """
        await self._reception.stranger(request, body_limit=0)
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise _foreign()
        return await self._session(request)

    async def actor(self, request: Request, *, roles: frozenset[ConsoleRole]) -> tuple[Session, dict[str, Any]]:
        """Who asks for a change, and what for.

        Raises:
            TurnedAwayError: see the module.
            RegistryError: whether it goes on cannot be said now: ask again.
        """
        body = await self._reception.stranger(request, body_limit=_BODY)
        _require_own_page(request)
        session = await self._session(request)
        if not hmac.compare_digest(request.headers.get("x-skerry-csrf", "").encode(), session.csrf.encode()):
            raise TurnedAwayError(GatewayRefusal.CSRF, "the page's token is missing or not this session's")
        if session.admitted.role not in roles:
            role = session.admitted.role.value
            raise TurnedAwayError(GatewayRefusal.WRONG_ROLE, f"a {role} may look, and change nothing")
        return session, _document(request, body)

    async def goes_on(self, session: Session) -> bool:
        """Whether a session goes on, which is used by that: neither it nor the standing of its member has ended.

        Raises:
            RegistryError: the member's standing cannot be read now; the session is left as it is.
        """
        if self._sessions.use(session.key) is None:
            return False
        member, role = session.admitted.member, session.admitted.role
        if member is not None and not await self._in_standing(member, role):
            self._sessions.end(session.key)
        return self._sessions.use(session.key) is not None  # it may have been signed out meanwhile

    async def _session(self, request: Request) -> Session:
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        if session is None:
            raise _signed_out()
        _spare(self._requests.take(session.key))
        if not await self.goes_on(session):
            raise _signed_out()
        return session

    async def _in_standing(self, member: str, role: ConsoleRole) -> bool:
        """Whether a member may still have that role; what is not begun in time is not asked any more."""
        asked = asyncio.get_running_loop().run_in_executor(self._looking, self._devices.find, member, EVERYBODY)
        try:
            found = await asyncio.wait_for(asked, _PATIENCE_S)
        except TimeoutError as error:
            raise RegistryError("it does not answer in time", where=member) from error
        return found is not None and MEMBERS.get(found.role) is role


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _require_own_page(request: Request) -> None:
    """That a request which changes something was made by a page of this origin: browsers say so, and cannot lie."""
    own = f"https://{request.headers.get('host', '')}"
    if request.headers.get("origin") != own or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise _foreign()


def _signed_out() -> TurnedAwayError:
    return TurnedAwayError(GatewayRefusal.NOT_SIGNED_IN, "nobody is signed in, or not any more")


def _foreign() -> TurnedAwayError:
    return TurnedAwayError(GatewayRefusal.OTHER_ORIGIN, "only the console's own page asks here")


def _document(request: Request, body: bytes) -> dict[str, Any]:
    """The body as JSON with text for keys; another kind of body is one that a form can send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
        raise TurnedAwayError(GatewayRefusal.MALFORMED, f"the body is {_JSON}")
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()  # half a character: JSON can say it, and no text is it
    except (ValueError, RecursionError) as error:
        raise TurnedAwayError(GatewayRefusal.MALFORMED, "the body is no JSON") from error
    if not isinstance(value, dict):
        raise TurnedAwayError(GatewayRefusal.MALFORMED, "the body is no JSON object")
    return value


def _spare(wait_s: float) -> None:
    if wait_s:
        raise TurnedAwayError(GatewayRefusal.TOO_MANY, "asked too often", retry_after_s=wait_s)
