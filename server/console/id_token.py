"""What an ID token must be before it is believed (OpenID Connect Core 1.0, section 3.1.3.7).

Signed by a key that the issuer publishes, by an asymmetric algorithm: ``none`` and those with a shared secret are
refused whatever the token says. For us, by the issuer, not expired, not of another time, and with the nonce that this
sign-in began with.
"""

import hmac
from typing import Any, TypeGuard

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

__all__ = ["ALGORITHMS", "TokenRefusedError", "UnknownKeyError", "believed"]

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_LEEWAY_S = 60
_OLDEST_S = 600  # it was made for a sign-in that lasts no longer


class TokenRefusedError(Exception):
    """Why a token is not believed; names no content of it."""


class UnknownKeyError(TokenRefusedError):
    """Nothing among these keys verifies it: the issuer may have new ones."""


def believed(token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now_s: int) -> dict[str, Any]:
    """The claims of a token that is all that the module says.

    Raises:
        UnknownKeyError: no key that is known verifies it.
        TokenRefusedError: it is something else.
    """
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, TypeError) as error:
        raise UnknownKeyError("its signature is none of the issuer's keys'") from error
    audiences = claims.get("aud")
    named = audiences if isinstance(audiences, list) else [audiences]
    if claims.get("iss") != issuer:
        raise TokenRefusedError("it is by another issuer")
    if client_id not in named or (len(named) > 1 and claims.get("azp") != client_id):
        raise TokenRefusedError("it is for somebody else")
    if claims.get("azp", client_id) != client_id:
        raise TokenRefusedError("it was given to somebody else")
    expires, issued = claims.get("exp"), claims.get("iat")
    if not _number(expires) or not _number(issued):
        raise TokenRefusedError("it does not say from when to when it is good")
    if now_s >= expires + _LEEWAY_S:
        raise TokenRefusedError("it has expired")
    if not -_LEEWAY_S <= now_s - issued <= _OLDEST_S + _LEEWAY_S:
        raise TokenRefusedError("it is of another time")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise TokenRefusedError("it is of another sign-in")
    return dict(claims)


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
