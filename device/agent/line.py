"""The line to the gateway: HTTPS under the federation's root, each request signed with the device's enrolled key.

A device whose clock is off signs with the gateway's time once it was told (the ``Date`` of a refusal that says
``wrong_clock``): only signatures use it, everything else goes by the device's own clock.
"""

import json
import secrets
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Self

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.clock import Clock
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.service.retry_after import retry_after_s
from skerry.security.http_signature import sign_request

__all__ = ["GatewayLine", "Spoken"]

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_LONGEST_REFUSAL = 1 << 16
_LONGEST_WAIT_S = 600.0
_KEEP_S = 60.0
_LATEST_S = 1e11  # what is told beyond is no time


class Spoken:
    """A signature over something that the device says now, and when that is by the gateway's clock."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, now: int) -> None:
        self._key = key
        self.now = now

    def sign(self, message: bytes) -> bytes:
        """ECDSA P-256 over SHA-256, DER."""
        return self._key.sign(message, ec.ECDSA(SHA256()))


class GatewayLine:
    """One for an agent; may be used from several threads.

    Args:
        address: of the gateway, ``https://…``.
        roots: authorities that its certificate must lead to, PEM.
        name: under which the device is enrolled.
        key: that was enrolled; may be a handle to one in a chip.
        clock: of the device.
    """

    def __init__(self, address: str, *, roots: bytes, name: str, key: ec.EllipticCurvePrivateKey, clock: Clock) -> None:
        context = ssl.create_default_context(cadata=roots.decode())
        limits = httpx.Limits(max_connections=4, keepalive_expiry=_KEEP_S)
        self._client = httpx.Client(base_url=address, verify=context, timeout=_TIMEOUT, limits=limits, trust_env=False)
        self.address = address
        self.name = name
        self.key = key
        self._clock = clock
        self.off_ms = 0
        """By how much the gateway's clock is ahead of the device's, as far as the device was told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def spoken(self) -> Spoken:
        """What signs, and the gateway's time."""
        return Spoken(self.key, self._clock() + self.off_ms)

    def post(self, path: str, body: bytes, headers: Mapping[str, str], *, longest: int) -> bytes:
        """The answer to a signed request.

        Args:
            path: on the gateway.
            body: whole.
            headers: beside those of the signature.
            longest: bytes that the answer may have.

        Raises:
            CallFailedError: there is no such answer, with what kind of failure it is.
        """
        spoken = self.spoken()
        signed = sign_request(
            "POST",
            path,
            body,
            key_id=self.name,
            sign=spoken.sign,
            created=spoken.now // 1000,
            nonce=secrets.token_urlsafe(16),
        )
        given = {"accept-encoding": "identity", **headers, **signed}
        content = bytearray()
        try:
            with self._client.stream("POST", path, content=body, headers=given) as answer:
                most = longest if answer.status_code == httpx.codes.OK else _LONGEST_REFUSAL
                for part in answer.iter_raw():
                    content += part
                    if len(content) > most:
                        raise CallFailedError(Fault.UNREACHABLE, f"the answer has more than {most} bytes", where=path)
        except httpx.HTTPError as error:
            raise CallFailedError(
                Fault.UNREACHABLE, f"the gateway does not answer: {type(error).__name__}: {error}", where=path
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise self._failure(answer, bytes(content), path)
        return bytes(content)

    def _failure(self, answer: httpx.Response, content: bytes, path: str) -> CallFailedError:
        """What an answer that is not 200 says; the gateway's own refusals are JSON, the SuperLink's are not."""
        reason, what = _refusal(content)
        wait = retry_after_s(answer, longest=_LONGEST_WAIT_S, otherwise=0.0)
        status = answer.status_code
        if reason == "wrong_clock":
            self._learn_time(answer)
            fault = Fault.WRONG_CLOCK
        elif reason in {"not_signed", "not_authentic"}:
            fault = Fault.UNKNOWN
        elif reason == "other_node" or (not reason and status == httpx.codes.UNAUTHORIZED):
            fault = Fault.NOT_REGISTERED
        elif not reason and status == httpx.codes.PRECONDITION_FAILED:
            fault = Fault.STILL_ONLINE
        elif not reason and 400 <= status < 500 and status != httpx.codes.TOO_MANY_REQUESTS:
            fault = Fault.GONE
        else:
            fault = Fault.UNREACHABLE
        said = f"{reason}: {what}" if reason else f"the SuperLink answers {status}: {what}"
        return CallFailedError(fault, said, where=path, retry_after_s=wait)

    def _learn_time(self, answer: httpx.Response) -> None:
        try:
            told = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return
        if 0 < told < _LATEST_S:
            self.off_ms = round(1000 * told) - self._clock()


def _refusal(content: bytes) -> tuple[str, str]:
    """The code and the words of a refusal; of one that is not the gateway's the code is empty."""
    try:
        error = json.loads(content)["error"]
        return str(error["reason"])[:100], str(error["what"])[:300]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", content[:300].decode(errors="replace")
