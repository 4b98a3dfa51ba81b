"""The OpenID provider, asked over HTTPS: what it says of itself, the keys it signs with, and the token for a code.

Anybody may begin to sign in, so what that costs the provider is bounded: its configuration is asked for by one request
that all wait for, and is known for an hour, or that it could not be had for some seconds.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote_plus

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key

from skerry.server.console.oidc_settings import OidcSettings

__all__ = ["Configuration", "OidcFault", "OidcProvider", "SignInRefusedError"]

_CONFIGURATION_S = 3600.0
_FAILURE_S = 5.0
_TIMEOUT_S = 10.0
_BAD_REQUEST = 400
_log = logging.getLogger(__name__)


class OidcFault(StrEnum):
    """Why somebody is not let in."""

    UNKNOWN = "unknown_sign_in"
    DECLINED = "provider_declined"
    PROVIDER = "provider_failed"
    TOKEN = "token_refused"  # noqa: S105 - a reason, no secret
    ROLE = "no_role"


class SignInRefusedError(Exception):
    """Somebody is not let in."""

    def __init__(self, fault: OidcFault, what: str) -> None:
        super().__init__(what)
        self.fault, self.what = fault, what


@dataclass(frozen=True)
class Configuration:
    """Where the provider has what, and whether it names itself in its answers (RFC 9207)."""

    authorization: str
    token: str
    keys: str
    names_itself: bool


class OidcProvider:
    """One for a gateway, on its event loop.

    Args:
        settings: which provider.
        now: seconds that only go forward.
    """

    def __init__(self, settings: OidcSettings, now: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._now = now
        self._trusted = settings.trusted()
        self._known: Configuration | SignInRefusedError | None = None
        self._until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def configuration(self) -> Configuration:
        """What the provider says of itself.

        Raises:
            SignInRefusedError: it cannot be reached, or cannot do what is needed.
        """
        if self._known is None or self._now() >= self._until:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._learn())
            await asyncio.shield(self._asking)  # who goes away meanwhile is not the only one who waits
        if isinstance(self._known, Configuration):
            return self._known
        failed = self._known or SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} does not answer")
        raise SignInRefusedError(failed.fault, failed.what)

    async def _learn(self) -> None:
        try:
            self._known = await self._discovered()
            self._until = self._now() + _CONFIGURATION_S
        except SignInRefusedError as error:
            self._known = error
            self._until = self._now() + _FAILURE_S

    async def _discovered(self) -> Configuration:
        told = await self._ask("GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        places = [told.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if told.get("issuer") != self.settings.issuer:
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider says that it is another issuer")
        if not all(isinstance(place, str) and place.startswith("https://") for place in places):
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider has places without HTTPS")
        modes = told.get("response_modes_supported")
        if isinstance(modes, list) and "fragment" not in modes:
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider cannot answer in a fragment")
        authorization, token, keys = (str(place) for place in places)
        names_itself = told.get("authorization_response_iss_parameter_supported") is True
        return Configuration(authorization, token, keys, names_itself)

    async def keys(self) -> KeySet:
        """The keys that the provider publishes now; those of a kind that is not known here are left out.

        Raises:
            SignInRefusedError: it cannot be reached, or publishes none that is known.
        """
        told = (await self._ask("GET", (await self.configuration()).keys)).get("keys")
        found = [key for one in (told if isinstance(told, list) else []) if (key := _imported(one)) is not None]
        if not found:
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider's keys cannot be read")
        return KeySet(found)

    async def id_token(self, code: str, *, verifier: str, redirect: str) -> str:
        """What the provider gives for a code.

        Raises:
            SignInRefusedError: nothing, or it cannot be reached.
        """
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": self.settings.client_id,
            "code_verifier": verifier,
        }
        secret = self.settings.secret()
        told = await self._ask("POST", (await self.configuration()).token, data=asked, secret=secret)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} gave no ID token for the code")
        return token

    async def _ask(
        self, method: str, url: str, *, data: Mapping[str, str] | None = None, secret: str | None = None
    ) -> dict[str, Any]:
        auth = None if secret is None else _as_the_client(self.settings.client_id, secret)
        try:
            async with httpx.AsyncClient(verify=self._trusted, timeout=_TIMEOUT_S) as client:
                answer = await client.request(method, url, data=data, auth=auth)
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            _log.warning("the OpenID provider failed: %s", type(error).__name__)
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} does not answer") from error
        if not isinstance(told, dict):
            _log.warning("the OpenID provider answered %s with %d", method, answer.status_code)
            refused = data is not None and answer.status_code == _BAD_REQUEST  # the code is none of its own (RFC 6749)
            raise SignInRefusedError(
                OidcFault.DECLINED if refused else OidcFault.PROVIDER, f"{self.settings.called} refused"
            )
        return told


def _as_the_client(name: str, secret: str) -> httpx.BasicAuth:
    """`client_secret_basic`: both are form-encoded, else a colon or a "%" is misread (RFC 6749, section 2.3.1)."""
    return httpx.BasicAuth(quote_plus(name), quote_plus(secret))


def _imported(one: object) -> Key | None:
    """None for what is no key, or one of another kind: the others are good all the same."""
    try:
        return import_key(one) if isinstance(one, dict) else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
