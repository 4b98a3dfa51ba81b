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
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from joserfc.jwk import KeySet

from skerry.clock import Clock
from skerry.server.console.id_token import TokenRefusedError, UnknownKeyError, believed
from skerry.server.console.links import Admitted, ConsoleRole
from skerry.server.console.oidc_provider import OidcFault, OidcProvider, SignInRefusedError
from skerry.server.console.oidc_settings import OidcSettings

__all__ = ["BEGUN_COOKIE", "BEGUN_S", "OidcSignIn"]

BEGUN_COOKIE = "__Host-skerry-oidc"
BEGUN_S = 600
_MOST_BEGUN = 4096
_MOST_BEGUN_EACH = 16  # of one address: whoever begins again and again makes room among their own
_BYTES = 32
_LONGEST_CODE = 2048
_LONGEST_NAME = 128
_LONGEST_SUBJECT = 255  # OpenID Connect Core, section 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Begun:
    address: str
    state: str
    nonce: str
    verifier: str
    redirect: str
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
        self._provider = OidcProvider(settings, now)
        self._begun: OrderedDict[str, _Begun] = OrderedDict()  # by the cookie's hash, oldest first
        self._keys: KeySet | None = None

    async def begin(self, page: str, address: str) -> tuple[str, str]:
        """Where the browser has to go, and the cookie that this sign-in is known by.

        Args:
            page: address of the console, to which the provider sends the browser back.
            address: of who asks; each has a share of what is kept here.

        Raises:
            SignInRefusedError: the provider cannot be reached, or cannot do what is needed.
        """
        provider = await self._provider.configuration()
        cookie, state, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(4))
        self._make_room(address)
        self._begun[_hash(cookie)] = _Begun(address, state, nonce, verifier, page, self._now() + BEGUN_S)
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

    def _make_room(self, address: str) -> None:
        while self._begun and (
            len(self._begun) >= _MOST_BEGUN or next(iter(self._begun.values())).until <= self._now()
        ):
            self._begun.popitem(last=False)
        theirs = [key for key, one in self._begun.items() if one.address == address]
        for key in theirs[: max(0, len(theirs) - _MOST_BEGUN_EACH + 1)]:
            del self._begun[key]

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
            raise SignInRefusedError(OidcFault.DECLINED, f"{self.settings.called} let nobody in")
        provider = await self._provider.configuration()
        if issuer != self.settings.issuer and (issuer is not None or provider.names_itself):
            raise SignInRefusedError(OidcFault.UNKNOWN, "the answer is by another provider")
        token = await self._provider.id_token(code, verifier=begun.verifier, redirect=begun.redirect)
        try:
            claims = await self._believe(token, begun.nonce)
        except TokenRefusedError as error:
            raise SignInRefusedError(OidcFault.TOKEN, f"the token is not believed: {error}") from error
        return self._admit(claims)

    async def _believe(self, token: str, nonce: str) -> dict[str, Any]:
        """By the keys that are known; by those that the issuer has now, where none of them fits (they are rotated)."""

        def by(keys: KeySet) -> dict[str, Any]:
            settings, now_s = self.settings, self._clock() // 1000
            return believed(token, keys, issuer=settings.issuer, client_id=settings.client_id, nonce=nonce, now_s=now_s)

        if self._keys is not None:
            try:
                return by(self._keys)
            except UnknownKeyError:
                _log.info("the provider's keys are read anew")
        self._keys = await self._provider.keys()
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
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            raise SignInRefusedError(OidcFault.TOKEN, "the token has no subject")
        # Others may have had the name, or get it: what the provider never gives to two is the subject (Core, 5.7).
        known = self.settings.called if self.settings.person == "sub" else f"{self.settings.called}, sub {subject}"
        return Admitted(f"{person} ({known})", role)


def _hash(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
