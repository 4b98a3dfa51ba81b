"""The calls that need no certificate: the enrolment desk's, carried as they are."""

from collections.abc import Callable

import grpc

from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc
from skerry.errors import RefusedError
from skerry.security.enrolment import EnrolmentTransport
from skerry.server.service.guard import refuse

__all__ = ["EnrolmentServicer", "asked"]


def asked(context: grpc.ServicerContext, call: Callable[[], bytes]) -> "pb.Record":
    """The desk's answer; its refusal ends the call under its own code."""
    try:
        return pb.Record(body=call())
    except RefusedError as error:
        refuse(context, grpc.StatusCode.PERMISSION_DENIED, error.reason, error.what)


class EnrolmentServicer(rpc.EnrolmentServicer):
    """``Enrolment`` of ``device.proto``."""

    def __init__(self, desk: EnrolmentTransport) -> None:
        self._desk = desk

    def Authorities(self, request: "pb.Nothing", context: grpc.ServicerContext) -> "pb.Record":  # noqa: N802, ARG002 - the service's own names
        """Issuing and root certificates, PEM."""
        return asked(context, self._desk.authorities)

    def Challenge(self, request: "pb.Record", context: grpc.ServicerContext) -> "pb.Record":  # noqa: N802 - as above
        """A nonce under an invite."""
        return asked(context, lambda: self._desk.challenge(request.body))

    def Enrol(self, request: "pb.Record", context: grpc.ServicerContext) -> "pb.Record":  # noqa: N802 - as above
        """A certificate, or the word that an operator has to decide."""
        return asked(context, lambda: self._desk.enrol(request.body))
