"""Signing in by an OpenID provider: authorization code flow with PKCE (RFC 7636), state, nonce and issuer (RFC 9207).

1. The page asks to begin. The gateway makes state, nonce and verifier, keeps them under the hash of a cookie, and tells
   the page the provider's address to go to.
2. The provider sends the browser back to ``/console/`` with a code in the *fragment* (``response_mode=fragment``),
   which no browser sends and no log sees; the page takes it out of its address and hands it in.
3. The gateway takes what it kept, so that a code, good or not, is tried once; compares; redeems the code at the
   provider; believes or refuses the ID token (:mod:`~skerry.server.console.id_token`); and looks up the role.

Nothing of a token is kept, and none is ever in the browser.
"""

import hmac
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from skerry.clock import Clock
from skerry.server.console.id_token import TokenRefusedError, UnknownKeyError, believed
from skerry.server.console.links import Admitted, ConsoleRole
from skerry.server.console.oidc_settings import OidcSettings

__all__ = ["BEGUN_COOKIE", "BEGUN_S", "OidcFault", "OidcSignIn", "SignInRefusedError"]

BEGUN_COOKIE = "__Host-skerry-oidc"
BEGUN_S = 600
_MOST_BEGUN = 256
_CONFIGURATION_S = 3600.0
_TIMEOUT_S = 10.0
_BYTES = 32
_LONGEST_CODE = 2048
_LONGEST_NAME = 128
_log = logging.getLogger(__name__)


class OidcFault(StrEnum):
    """Why somebody is not let in."""

    UNKNOWN = "unknown_sign_in"
    PROVIDER = "provider_failed"
    TOKEN = "token_refused"  # noqa: S105 - a reason, no secret
    ROLE = "no_role"


class SignInRefusedError(Exception):
    """Somebody is not let in."""

    def __init__(self, fault: OidcFault, what: str) -> None:
        super().__init__(what)
        self.fault, self.what = fault, what


@dataclass(frozen=True)
class _Begun:
    state: str
    nonce: str
    verifier: str
    redirect: str
    until: float


@dataclass(frozen=True)
class _Provider:
    authorization: str
    token: str
    keys: str
    names_itself: bool
    until: float


class OidcSignIn:
    """One for a gateway, on its event loop.

    Args:
        settings: which provider.
        clock: ms since the epoch, for tokens.
        now: seconds that only go forward, for what is kept here.
    """

    def __init__(self, settings: OidcSettings, clock: Clock, now: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock, self._now = clock, now
        self._trusted = settings.trusted()
        self._begun: OrderedDict[str, _Begun] = OrderedDict()  # by the cookie's hash, oldest first
        self._provider: _Provider | None = None
        self._keys: KeySet | None = None

    async def begin(self, page: str) -> tuple[str, str]:
        """Where the browser has to go, and the cookie that this sign-in is known by.

        Args:
            page: address of the console, to which the provider sends the browser back.

        Raises:
            SignInRefusedError: the provider cannot be reached, or cannot do what is needed.
        """
        provider = await self._configuration()
        cookie, state, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(4))
        while self._begun and (
            len(self._begun) >= _MOST_BEGUN or next(iter(self._begun.values())).until <= self._now()
        ):
            self._begun.popitem(last=False)
        self._begun[_hash(cookie)] = _Begun(state, nonce, verifier, page, self._now() + BEGUN_S)
        asked = {
            "response_type": "code",
            "response_mode": "fragment",
            "client_id": self.settings.client_id,
            "redirect_uri": page,
            "scope": f"openid {self.settings.scope}".strip(),
            "state": state,
            "nonce": nonce,
            "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{provider.authorization}{'&' if '?' in provider.authorization else '?'}{urlencode(asked)}", cookie

    async def finish(self, cookie: str, given: Mapping[str, object]) -> Admitted:
        """Whom a provider's answer lets in; whatever comes of it, the sign-in is over.

        Args:
            cookie: as :meth:`begin` made it.
            given: ``state``, ``code`` and, where the provider says it, ``iss``, as the page had them.

        Raises:
            SignInRefusedError: see the module.
        """
        begun = self._begun.pop(_hash(cookie), None)
        state, code, issuer = (given.get(name) for name in ("state", "code", "iss"))
        if begun is None or begun.until <= self._now() or not isinstance(state, str):
            raise SignInRefusedError(OidcFault.UNKNOWN, "this sign-in was not begun here, is over, or took too long")
        if not hmac.compare_digest(state.encode(), begun.state.encode()):
            raise SignInRefusedError(OidcFault.UNKNOWN, "the answer is to another sign-in")
        if not isinstance(code, str) or not 0 < len(code) <= _LONGEST_CODE:
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} let nobody in")
        provider = await self._configuration()
        if issuer != self.settings.issuer and (issuer is not None or provider.names_itself):
            raise SignInRefusedError(OidcFault.UNKNOWN, "the answer is by another provider")
        token = await self._redeem(provider, begun, code)
        try:
            claims = await self._believe(provider, token, begun.nonce)
        except TokenRefusedError as error:
            raise SignInRefusedError(OidcFault.TOKEN, f"the token is not believed: {error}") from error
        return self._admit(claims)

    async def _redeem(self, provider: _Provider, begun: _Begun, code: str) -> str:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect,
            "client_id": self.settings.client_id,
            "code_verifier": begun.verifier,
        }
        secret = self.settings.secret()
        told = await self._ask("POST", provider.token, data=asked, secret=secret)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} gave no ID token for the code")
        return token

    async def _believe(self, provider: _Provider, token: str, nonce: str) -> dict[str, Any]:
        """By the keys that are known; by those that the issuer has now, where none of them fits (they are rotated)."""

        def by(keys: KeySet) -> dict[str, Any]:
            settings, now_s = self.settings, self._clock() // 1000
            return believed(token, keys, issuer=settings.issuer, client_id=settings.client_id, nonce=nonce, now_s=now_s)

        if self._keys is not None:
            try:
                return by(self._keys)
            except UnknownKeyError:
                _log.info("the provider's keys are read anew")
        told = await self._ask("GET", provider.keys)
        try:
            self._keys = KeySet.import_key_set(told)  # type: ignore[arg-type] # whatever it is, it is checked there
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider's keys cannot be read") from error
        return by(self._keys)

    def _admit(self, claims: Mapping[str, Any]) -> Admitted:
        values = claims.get(self.settings.claim)
        texts = [values] if isinstance(values, str) else values if isinstance(values, list) else []
        roles = {self.settings.roles[text] for text in texts if isinstance(text, str) and text in self.settings.roles}
        if not roles:
            raise SignInRefusedError(OidcFault.ROLE, "no role is given to this person")
        person = claims.get(self.settings.person)
        if not isinstance(person, str) or not 0 < len(person) <= _LONGEST_NAME or not person.isprintable():
            raise SignInRefusedError(OidcFault.ROLE, f"the token names nobody in {self.settings.person!r}")
        role = ConsoleRole.OPERATOR if ConsoleRole.OPERATOR in roles else ConsoleRole.VIEWER
        return Admitted(f"{person} ({self.settings.called})", role)

    async def _configuration(self) -> _Provider:
        if self._provider is not None and self._now() < self._provider.until:
            return self._provider
        told = await self._ask("GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        places = [told.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if told.get("issuer") != self.settings.issuer:
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider says that it is another issuer")
        if not all(isinstance(place, str) and place.startswith("https://") for place in places):
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider has places without HTTPS")
        if "fragment" not in told.get("response_modes_supported", ["query", "fragment"]):
            raise SignInRefusedError(OidcFault.PROVIDER, "the provider cannot answer in a fragment")
        authorization, token, keys = (str(place) for place in places)
        names_itself = told.get("authorization_response_iss_parameter_supported") is True
        self._provider = _Provider(authorization, token, keys, names_itself, self._now() + _CONFIGURATION_S)
        return self._provider

    async def _ask(
        self, method: str, url: str, *, data: Mapping[str, str] | None = None, secret: str | None = None
    ) -> dict[str, Any]:
        auth = None if secret is None else httpx.BasicAuth(self.settings.client_id, secret)
        try:
            async with httpx.AsyncClient(verify=self._trusted, timeout=_TIMEOUT_S) as client:
                answer = await client.request(method, url, data=data, auth=auth)
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            _log.warning("the OpenID provider failed: %s", type(error).__name__)
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} does not answer") from error
        if not isinstance(told, dict):
            _log.warning("the OpenID provider answered %s with %d", method, answer.status_code)
            raise SignInRefusedError(OidcFault.PROVIDER, f"{self.settings.called} refused")
        return told


def _hash(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
