"""Which device signed a request.

In order: the headers are of the profile, the clocks agree, the device is in good standing, its key made the signature,
and it has not used the nonce before. Only what the device itself signed is charged to it; a forger cannot use up
somebody's nonces or rate.

Nonces are kept in memory for as long as a signature is fresh. After a start of the gateway nothing signed before it is
taken, so that a restart opens no window for replays.
"""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from skerry.clock import Clock
from skerry.errors import InputError
from skerry.security.http_signature import content_digest, read_claim
from skerry.server.devices import Devices, EnrolledDevice
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["Authenticator"]

SKEW_S = 60
"""How far a device's clock may be off, either way."""


class Authenticator:
    """Remembers nonces; one for a gateway. Safe to use from several threads.

    Args:
        devices: who is in good standing.
        clock: of the gateway.
    """

    def __init__(self, devices: Devices, clock: Clock) -> None:
        self._devices = devices
        self._clock = clock
        self._started_s = clock() // 1000
        self._lock = Lock()
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()  # until when (s), oldest first

    def device(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> EnrolledDevice:
        """The device that signed exactly this request, for the first time.

        Raises:
            TurnedAwayError: nobody in good standing did.
        """
        try:
            claim = read_claim(headers.get("signature-input", ""), headers.get("signature", ""))
        except InputError as error:
            raise TurnedAwayError(GatewayRefusal.NOT_SIGNED, error.what) from error
        now = self._clock() // 1000
        if not now - SKEW_S <= claim.created <= now + SKEW_S:
            raise TurnedAwayError(
                GatewayRefusal.WRONG_CLOCK, f"signed {claim.created - now:+d} s from now; see the Date header"
            )
        if claim.created < self._started_s:
            raise TurnedAwayError(GatewayRefusal.WRONG_CLOCK, "signed before the gateway started; sign again")
        digest = content_digest(body)  # of what came, whatever the header says
        device = self._devices.find(claim.key_id)
        if device is None:
            raise TurnedAwayError(GatewayRefusal.UNKNOWN_DEVICE, "no device of this name is in good standing")
        if not claim.verify(device.key, method, path, digest):
            raise TurnedAwayError(GatewayRefusal.NOT_AUTHENTIC, "the signature does not hold under the device's key")
        self._use((claim.key_id, claim.nonce), now)
        return device

    def _use(self, key: tuple[str, str], now: int) -> None:
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now:
                self._seen.popitem(last=False)
            if key in self._seen:
                raise TurnedAwayError(GatewayRefusal.REPLAYED, "the device has used this nonce before")
            self._seen[key] = now + 2 * SKEW_S  # a signature from the future stays fresh that long
