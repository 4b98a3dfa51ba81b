"""A release repository behind a gateway, read by a device that signs each request."""

import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from skerry.clock import Clock
from skerry.errors import RefusedError, RunFailedError
from skerry.security.http_signature import Signer, sign_request

__all__ = ["GatewaySource", "refusal_of"]

_REPOSITORY = "/v1/repository/"
_TIMEOUT_S = 30.0
_PIECE = 1 << 16


class GatewaySource:
    """See :class:`~skerry.security.delivery.client.Source`.

    Args:
        address: of the gateway, ``https://…``.
        roots: authorities that its certificate must lead to, PEM.
        name: under which the device is enrolled.
        sign: with the device's key.
        clock: of the device.
    """

    def __init__(self, address: str, *, roots: bytes, name: str, sign: Signer, clock: Clock) -> None:
        context = ssl.create_default_context(cadata=roots.decode())
        # once more where no connection came about, as a handshake at a busy gateway may not: nothing was sent by then
        line = httpx.HTTPTransport(verify=context, trust_env=False, retries=1)
        self._client = httpx.Client(base_url=address, transport=line, timeout=_TIMEOUT_S, trust_env=False)
        self._name = name
        self._sign = sign
        self._clock = clock
        self.url = f"{address.rstrip('/')}{_REPOSITORY}"
        self.fetcher: FetcherInterface = _SignedFetcher(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, blob: str, first: int, last: int) -> Iterator[bytes]:
        """Bytes ``first`` to ``last`` (both included) of a blob, in pieces.

        Raises:
            RunFailedError: the gateway does not give them now.
        """
        path = f"/v1/blobs/{blob}"
        try:
            with self.asked(path, {"range": f"bytes={first}-{last}"}) as answer:
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise RunFailedError(
                        f"the gateway answers {answer.status_code} to a range of a blob: {refusal_of(answer)}",
                        where=path,
                        mend="try again later",
                    )
                yield from answer.iter_raw(_PIECE)
        except httpx.HTTPError as error:
            raise RunFailedError(
                f"the download broke off: {error}", where=path, mend="fetch again: it goes on from here"
            ) from error

    @contextmanager
    def asked(self, path: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer to a signed ``GET``, its body still to be read."""
        signed = sign_request(
            "GET",
            path,
            b"",
            key_id=self._name,
            sign=self._sign,
            created=self._clock() // 1000,
            nonce=secrets.token_urlsafe(16),
        )
        plain = {"accept-encoding": "identity", **signed, **(headers or {})}
        with self._client.stream("GET", path, headers=plain) as answer:
            yield answer

    def document(self, path: str) -> dict[str, Any]:
        """The JSON object that the gateway answers a signed ``GET`` with.

        Raises:
            RefusedError: for its reason, such as ``wrong_role``.
            RunFailedError: it does not answer, or not so.
        """
        try:
            with self.asked(path) as answer:
                if answer.status_code != httpx.codes.OK:
                    reason = refusal_of(answer)
                    raise RefusedError(reason, f"the gateway refuses: {reason}", where=path)
                answer.read()
                value = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RunFailedError(f"the gateway does not answer: {error}", where=path, mend="try again later") from error
        if not isinstance(value, dict):
            raise RunFailedError("the gateway answers something else", where=path)
        return value


class _SignedFetcher(FetcherInterface):
    """What python-tuf's client reads metadata and small targets with."""

    def __init__(self, source: GatewaySource) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = _REPOSITORY + url.removeprefix(self._source.url)
        try:
            with self._source.asked(path) as answer:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    raise DownloadHTTPError(refusal_of(answer), answer.status_code)
                yield from answer.iter_raw(_PIECE)
        except httpx.HTTPError as error:
            raise DownloadError(f"the download broke off: {error}") from error


def refusal_of(answer: httpx.Response) -> str:
    """The code of a refusal, as far as it can be read."""
    try:
        answer.read()
        return str(answer.json()["error"]["reason"])[:100]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return "no reason given"
