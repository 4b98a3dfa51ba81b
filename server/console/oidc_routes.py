"""The two requests of the console's page by which somebody signs in at an OpenID provider."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from skerry.server.console.access import Access
from skerry.server.console.links import Admitted
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

if TYPE_CHECKING:  # what it needs is part of the extra `oidc`
    from skerry.server.console.oidc import OidcSignIn

__all__ = ["oidc_routes"]


def oidc_routes(oidc: "OidcSignIn", access: Access, admit: Callable[[Admitted], Response]) -> list[BaseRoute]:
    """Both are held to the page's own origin, sizes and rates, as a sign-in by a link is.

    Args:
        oidc: the provider's side.
        access: the console's.
        admit: the answer that begins a session.
    """
    from skerry.server.console.oidc import BEGUN_COOKIE, BEGUN_S
    from skerry.server.console.oidc_provider import OidcFault, SignInRefusedError

    async def begin(request: Request) -> Response:
        await access.arrival(request)
        try:
            url, cookie = await oidc.begin(
                f"https://{request.headers['host']}/console/", request.client.host if request.client else ""
            )
        except SignInRefusedError as error:
            raise _refused(error) from error
        answer = JSONResponse({"url": url}, headers=FIXED_HEADERS)
        answer.set_cookie(
            BEGUN_COOKIE, cookie, max_age=BEGUN_S, path="/", secure=True, httponly=True, samesite="strict"
        )
        return answer

    async def finish(request: Request) -> Response:
        given = await access.arrival(request)
        try:
            admitted = await oidc.finish(request.cookies.get(BEGUN_COOKIE, ""), given)
        except SignInRefusedError as error:
            if error.fault is not OidcFault.PROVIDER:  # what fails there is not theirs who ask
                access.failed(request)
            raise _refused(error) from error
        answer = admit(admitted)
        answer.delete_cookie(BEGUN_COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    def _refused(error: SignInRefusedError) -> TurnedAwayError:
        return TurnedAwayError(GatewayRefusal.SIGN_IN_REFUSED, f"{error.what} ({error.fault.value})")

    return [
        Route("/v1/console/oidc/begin", begin, methods=["POST"]),
        Route("/v1/console/oidc/finish", finish, methods=["POST"]),
    ]
