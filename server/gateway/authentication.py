"""Which device signed a request, before its body is read.

In order: the headers are of the profile, the clocks agree, the device is in good standing, its key made the signature,
it has not used the nonce before, and its role may ask for this. The signature covers the body's digest, so that a body
is waited for, and given memory, only after all of that; then it must have that digest. Only what the device itself
signed is charged to it; a forger cannot use up somebody's nonces or rate. A stranger gets one reason, and after the
same work, whether or not a device of that name exists.

Nonces are kept in memory for as long as a signature is fresh. Nothing is taken that was signed up to when one was that
is forgotten by now: a clock that is set back, or a registry that hangs, makes none fresh again. Set back by more than a
minute, it has to come to where it was before devices are let in. After a start of the gateway nothing is taken that the
one before it could have taken, which is what was signed up to :data:`AHEAD_S` after the start; so a restart opens no
window for replays, and devices wait those seconds, each a little longer than the one turned away before it: a fleet
does not come back in one second.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from threading import Lock

from cryptography.hazmat.primitives.asymmetric import ec

from skerry.clock import Clock
from skerry.errors import InputError
from skerry.security.certificates import Role
from skerry.security.http_signature import Claimed, content_digest, read_claim
from skerry.server.devices import DEVICES, EVERYBODY, Devices, EnrolledDevice
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["Authenticator", "SignedHead"]

SKEW_S = 60
"""How far a device's clock may be behind."""

AHEAD_S = 5
"""How far it may be ahead: little, because nobody is served for so long after a start."""

_RETURNS_PER_S = 200.0
_MOST_EARLY = 5120  # counted; nobody is kept away for more than half a minute, whoever else asks


@dataclass(frozen=True)
class SignedHead:
    """A request's head that ``device`` signed; its body is still to come."""

    device: EnrolledDevice
    _digest: str

    def check(self, body: bytes) -> None:
        """Refuse another body than the one that was signed.

        Raises:
            TurnedAwayError: ``not_authentic``.
        """
        if content_digest(body) != self._digest:
            raise TurnedAwayError(GatewayRefusal.NOT_AUTHENTIC, "the body is not the one that was signed")


class Authenticator:
    """Remembers nonces; one for a gateway. Safe to use from several threads.

    Args:
        devices: who is in good standing.
        clock: of the gateway.
        idle_since: since when no other gateway took requests for these devices, ms since the epoch.
    """

    def __init__(self, devices: Devices, clock: Clock, *, idle_since: int) -> None:
        self._devices = devices
        self._clock = clock
        self._taken_before_s = idle_since // 1000 + AHEAD_S
        self._nobody = ec.generate_private_key(ec.SECP256R1()).public_key()
        self._lock = Lock()
        self._early = 0  # requests that were signed before the start, or just then
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()  # until when (s), oldest first

    def head(
        self, method: str, path: str, headers: Mapping[str, str], *, roles: Collection[Role] = DEVICES
    ) -> SignedHead:
        """The head of a request that a member in one of the roles signed, for the first time.

        Raises:
            TurnedAwayError: nobody in good standing did; or one who is there for something else (``wrong_role``).
        """
        try:
            claim = read_claim(headers.get("signature-input", ""), headers.get("signature", ""))
        except InputError as error:
            raise TurnedAwayError(GatewayRefusal.NOT_SIGNED, error.what) from error
        now = self._clock() // 1000
        if not now - SKEW_S <= claim.created <= now + AHEAD_S:
            raise TurnedAwayError(
                GatewayRefusal.WRONG_CLOCK, f"signed {claim.created - now:+d} s from now; see the Date header"
            )
        if claim.created <= self._taken_before_s:
            what = "signed before the gateway started, or just then, or before its clock was set back; sign again"
            wait_s = max(0, self._taken_before_s + 1 - now) + self._turn_s()
            raise TurnedAwayError(GatewayRefusal.WRONG_CLOCK, what, retry_after_s=wait_s)
        device = self._devices.find(claim.key_id, EVERYBODY)
        digest = headers.get("content-digest", "")
        holds = claim.verify(device.key if device else self._nobody, method, path, digest)
        if device is None or not holds:
            what = "no device in good standing has this name and made this signature"
            raise TurnedAwayError(GatewayRefusal.NOT_AUTHENTIC, what)
        return self._once(device, claim, digest, now, roles)

    def at_once(
        self, method: str, path: str, headers: Mapping[str, str], *, roles: Collection[Role] = DEVICES
    ) -> SignedHead | None:
        """What :meth:`head` says of a request that a member in good standing signed, where nobody has to wait for it.

        A stranger costs the same work here as well, whether or not a device of that name exists.

        Returns:
            ``None`` where :meth:`head` has to say, such as why the request is refused.

        Raises:
            TurnedAwayError: the nonce was used before, or the member is there for something else.
        """
        try:
            claim = read_claim(headers.get("signature-input", ""), headers.get("signature", ""))
        except InputError:
            return None
        now = self._clock() // 1000
        if not max(now - SKEW_S, self._taken_before_s + 1) <= claim.created <= now + AHEAD_S:
            return None
        device = self._devices.at_once(claim.key_id, EVERYBODY)
        digest = headers.get("content-digest", "")
        holds = claim.verify(device.key if device else self._nobody, method, path, digest)
        if device is None or not holds:
            return None
        return self._once(device, claim, digest, now, roles)

    def _once(
        self, device: EnrolledDevice, claim: Claimed, digest: str, now: int, roles: Collection[Role]
    ) -> SignedHead:
        """The head that the device signed, for the first time, and in one of the roles."""
        self._use(claim, now)
        if device.role not in roles:
            raise TurnedAwayError(GatewayRefusal.WRONG_ROLE, f"this is not for the role {device.role.value}")
        return SignedHead(device, digest)

    def _turn_s(self) -> float:
        """Seconds by which the next of those that came too early is to come later than the first."""
        with self._lock:
            self._early = min(self._early + 1, _MOST_EARLY)
            return (self._early - 1) / _RETURNS_PER_S

    def _use(self, claim: Claimed, now: int) -> None:
        key = claim.key_id, claim.nonce
        with self._lock:
            while self._seen and (until := next(iter(self._seen.values()))) < now:
                self._seen.popitem(last=False)
                self._taken_before_s = max(self._taken_before_s, until - SKEW_S)  # it was not signed later
            if key in self._seen or claim.created <= self._taken_before_s:
                raise TurnedAwayError(GatewayRefusal.REPLAYED, "the device has used this nonce before")
            self._seen[key] = now + AHEAD_S + SKEW_S  # a signature from the future stays fresh that long
