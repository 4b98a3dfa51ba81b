"""Enrolment over the gateway's HTTPS port, which a device finds by the address and the pin of its invitation.

The federation's root is its own, in no system's store. It is fetched first, over a connection that proves nothing, and
taken only when its SHA-256 is the one that the invitation pins; everything else goes over TLS under that root.
"""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.device.service.retry_after import retry_after_s
from skerry.errors import InputError, RefusedError, RunFailedError
from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError, Invitation

__all__ = ["HttpsEnrolment"]

_EST = "/.well-known/est"
_TIMEOUT_S = 30.0
_LONGEST = 1 << 20
_TRIES, _SOON_S = 10, 2.0  # of one call; a class of devices behind one address shares what that address may ask
_LATER = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})


class HttpsEnrolment:
    """See :class:`~skerry.security.enrolment.LeavingTransport`.

    A gateway that is busy, or asked too often from this address, says so before it does anything. A call waits as long
    as it says where that is two seconds at most, up to nine times, and is made again.

    Args:
        invitation: says where, and which root.
        sleep: waits so many seconds.

    Raises:
        InputError: the invitation names no HTTPS address.
        EnrolmentRefusedError: who answers there does not show the pinned root (``not_authentic``).
        RunFailedError: nobody answers there, or it is busy for longer.
    """

    def __init__(self, invitation: Invitation, *, sleep: Callable[[float], None] = time.sleep) -> None:
        if not invitation.address.startswith("https://"):
            raise InputError("the invitation names no HTTPS address", where=invitation.address or None)
        self._where, self._sleep = invitation.address, sleep
        self.roots = self._pinned(invitation.root)
        context = ssl.create_default_context(cadata=self.roots.decode())
        self._client = httpx.Client(base_url=self._where, verify=context, timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def challenge(self, request: bytes) -> bytes:
        """A challenge request in, a challenge out."""
        return self._call("POST", f"{_EST}/challenge", request)

    def enrol(self, request: bytes) -> bytes:
        """A signed enrolment request in, a signed outcome out."""
        return self._call("POST", f"{_EST}/simpleenroll", request)

    def renew(self, request: bytes) -> bytes:
        """A signed renewal request in, a signed outcome out."""
        return self._call("POST", f"{_EST}/simplereenroll", request)

    def leave(self, request: bytes) -> bytes:
        """A signed leave request in, a signed outcome out."""
        return self._call("POST", "/v1/leave", request)

    def authorities(self) -> bytes:
        """Issuing and root certificates, PEM."""
        return self._call("GET", f"{_EST}/cacerts")

    def revocations(self) -> bytes:
        """The signed revocation list, DER."""
        return self._call("GET", "/v1/revocations")

    def _pinned(self, pin: bytes) -> bytes:
        """The root certificate (PEM) with this SHA-256."""
        unproven = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unproven.check_hostname = False
        unproven.verify_mode = ssl.CERT_NONE  # the pin proves what comes; nothing secret is sent
        with (
            self._answering(),
            httpx.Client(base_url=self._where, verify=unproven, timeout=_TIMEOUT_S, trust_env=False) as client,
        ):
            content = self._told(*self._asked(client, "GET", f"{_EST}/cacerts", None))
        try:
            shown = x509.load_pem_x509_certificates(content)
        except ValueError:
            shown = []
        for certificate in shown:
            if certificate.fingerprint(hashes.SHA256()) == pin:
                return certificate.public_bytes(Encoding.PEM)
        raise EnrolmentRefusedError(
            EnrolmentRefusal.NOT_AUTHENTIC,
            "who answers is not the federation that invited",
            where=self._where,
            mend="do not go on; ask the operator",
        )

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with self._answering():
            answer = self._asked(self._client, method, path, body)
        return self._told(*answer)

    def _asked(self, client: httpx.Client, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        for _ in range(_TRIES - 1):
            status, content, wait_s = _answer(client, method, path, body)
            if status not in _LATER or wait_s > _SOON_S:
                return status, content
            self._sleep(wait_s)
        status, content, _ = _answer(client, method, path, body)
        return status, content

    def _told(self, status: int, content: bytes) -> bytes:
        """What was asked for, where the gateway gave it."""
        if status == httpx.codes.OK:
            return content
        try:
            error = json.loads(content)["error"]
            reason, what = str(error["reason"]), str(error["what"])[:500]
        except (ValueError, KeyError, TypeError):
            reason, what = "", f"the gateway answers {status}"
        if reason in set(EnrolmentRefusal):
            raise EnrolmentRefusedError(EnrolmentRefusal(reason), what, where=self._where)
        if status in _LATER:
            raise RunFailedError(what, where=self._where, mend="try again later")
        raise RefusedError(reason or "unexpected_answer", what, where=self._where)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise RunFailedError(
                f"the gateway does not answer: {error}", where=self._where, mend="check the address, and try again"
            ) from error


def _answer(client: httpx.Client, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float]:
    """Status, body, of which no more is read than an answer can have and nothing unpacked, and how long to wait."""
    content = bytearray()
    with client.stream(method, path, content=body, headers={"accept-encoding": "identity"}) as answer:
        for part in answer.iter_raw():
            content += part
            if len(content) > _LONGEST:
                raise RunFailedError(
                    f"the gateway's answer has more than {_LONGEST} bytes",
                    where=f"{client.base_url}{path}",
                    mend="check the address; no answer of a gateway is that long",
                )
        return answer.status_code, bytes(content), retry_after_s(answer, longest=float("inf"))
