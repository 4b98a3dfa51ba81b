"""A device's side of the device service: calls with deadlines, refusals as skerry's own errors. Needs no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc

from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc
from skerry.errors import RefusedError, RunFailedError
from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError

__all__ = ["Credentials", "DeviceClient", "EnrolmentClient"]

_CALL_S = 30.0
_DOWNLOAD_S = 600.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.keepalive_time_ms", 60_000),  # notices a network that is gone
    ("grpc.enable_http_proxy", 0),
]
_REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
}


@dataclass(frozen=True)
class Credentials:
    """What a device shows and whom it believes; all PEM.

    Attributes:
        roots: authorities that the server's certificate must lead to.
        chain: the device's certificate, then its issuer's.
        key: the device's private key.
    """

    roots: bytes
    chain: bytes
    key: bytes = field(repr=False)


class EnrolmentClient:
    """The enrolment port; its certificate is checked against ``roots``.

    Args:
        address: ``host:port``.
        roots: PEM.
    """

    def __init__(self, address: str, roots: bytes) -> None:
        self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(roots), _OPTIONS)
        self._stub = rpc.EnrolmentStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def authorities(self) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`, as for the others."""
        with _answered():
            return bytes(self._stub.Authorities(pb.Nothing(), timeout=_CALL_S).body)

    def challenge(self, request: bytes) -> bytes:
        """A challenge request in, a challenge out."""
        with _answered():
            return bytes(self._stub.Challenge(pb.Record(body=request), timeout=_CALL_S).body)

    def enrol(self, request: bytes) -> bytes:
        """A signed enrolment request in, a signed outcome out."""
        with _answered():
            return bytes(self._stub.Enrol(pb.Record(body=request), timeout=_CALL_S).body)


class DeviceClient:
    """The device port, under the device's certificate.

    Every call raises :class:`~skerry.errors.RefusedError` (``reason`` as the server gave it) when it is turned away,
    and :class:`~skerry.errors.RunFailedError` when it is worth trying again.
    """

    def __init__(self, address: str, credentials: Credentials) -> None:
        shown = grpc.ssl_channel_credentials(credentials.roots, credentials.key, credentials.chain)
        self._channel = grpc.secure_channel(address, shown, _OPTIONS)
        self._stub = rpc.DeviceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def renew(self, request: bytes) -> bytes:
        """A signed renewal request in, a signed outcome out."""
        with _answered():
            return bytes(self._stub.Renew(pb.Record(body=request), timeout=_CALL_S).body)

    def revocations(self) -> bytes:
        """The signed revocation list, DER."""
        with _answered():
            return bytes(self._stub.Revocations(pb.Nothing(), timeout=_CALL_S).body)

    def fetch(self, path: str, *, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """Part of a file of the release repository, in order; the server waits for a slow reader.

        Args:
            path: relative, such as ``metadata/timestamp.json``.
            offset: first byte.
            length: bytes; 0 goes to the end.

        Raises:
            RunFailedError: also when the server leaves a gap or sends more than was asked for.
        """
        request = pb.FetchRequest(path=path, offset=offset, length=length)
        with _answered():
            call = self._stub.Fetch(request, timeout=_DOWNLOAD_S)
            try:
                at, stop = offset, None
                for chunk in call:
                    stop = chunk.size if not length else min(chunk.size, offset + length)
                    if chunk.offset != at or at + len(chunk.data) > stop:
                        raise RunFailedError("the server sends other bytes than were asked for", where=path)
                    at += len(chunk.data)
                    if chunk.data:
                        yield bytes(chunk.data)
                if at != stop:
                    raise RunFailedError("the download ended early", where=path, mend="resume it")
            finally:
                call.cancel()

    def submit_receipt(self, kind: str, body: bytes) -> bool:
        """Hand in a signed receipt; returns whether the server had it already."""
        with _answered():
            return bool(self._stub.SubmitReceipt(pb.Receipt(kind=kind, body=body), timeout=_CALL_S).known)

    def report(self, condition: "pb.Condition") -> None:
        """Tell how the device is."""
        with _answered():
            self._stub.Telemetry(condition, timeout=_CALL_S)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        reason = metadata.get("skerry-reason")
        what = str(error.details())[:500]
        if isinstance(reason, str) and reason in set(EnrolmentRefusal):
            raise EnrolmentRefusedError(EnrolmentRefusal(reason), what) from error
        if isinstance(reason, str) and error.code() in _REFUSED:
            raise RefusedError(reason, what) from error
        raise RunFailedError(
            f"the device service did not answer: {error.code().name}: {what}", mend="try again later"
        ) from error
