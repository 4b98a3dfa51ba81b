"""Who calls the device service, and whether it may now: certificate, good standing, deadline, rate.

gRPC has verified the certificate's chain, purpose and time when the connection was made; connections live longer than
that moment. Each call therefore asks again whether the certificate's device is in good standing, and whether the
certificate's key is the one that is enrolled now. All of it is asked before the call's message is waited for. A
download asks for the standing again before each chunk.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import grpc
from cryptography import x509

from skerry.clock import Clock
from skerry.errors import InputError, RefusedError
from skerry.security.certificates import Role, Subject, ms_of
from skerry.server.devices import Devices, EnrolledDevice
from skerry.server.limits import Buckets, Rate, Room

__all__ = ["Guard", "ServiceLimits", "refuse"]

_DEVICE = Rate(per_s=20.0, burst=100.0)
_STRANGER = Rate(per_s=50.0, burst=300.0)


@dataclass(frozen=True)
class ServiceLimits:
    """What one party may ask of the device service.

    Attributes:
        device: calls of one device.
        stranger: calls of one address for enrolment.
        downloads: downloads of one device at once.
        longest_s: the furthest deadline of a call; a call holds a thread until then.
        calls: calls at once over all parties, on each of the two ports; more are refused.
        calls_each: calls at once of one device, and of one address for enrolment.
        message_s: seconds for a call's message to come once the call is open.
        receipts: receipts kept of one device.
    """

    device: Rate = _DEVICE
    stranger: Rate = _STRANGER
    downloads: int = 4
    longest_s: float = 900.0
    calls: int = 64
    calls_each: int = 8
    message_s: float = 5.0
    receipts: int = 10_000


class Guard:
    """Safe to use from several threads."""

    def __init__(self, devices: Devices, limits: ServiceLimits, clock: Clock) -> None:
        self._devices = devices
        self._limits = limits
        self._clock = clock
        self._by_device = Buckets(limits.device)
        self._by_address = Buckets(limits.stranger)
        self._enrolling = Room(limits.calls, each=limits.calls_each)
        self._serving = Room(limits.calls, each=limits.calls_each)
        self._callers: dict[grpc.ServicerContext, EnrolledDevice] = {}

    @contextmanager
    def device(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Hold a call of a device during the block; ends the call when it may not be made."""
        self._check_deadline(context)
        device = self._standing(context)
        self._spare(context, self._by_device, device.name)
        with self._place(context, self._serving, device.name):
            self._callers[context] = device
            try:
                yield
            finally:
                del self._callers[context]

    def caller(self, context: grpc.ServicerContext) -> EnrolledDevice:
        """The device whose call :meth:`device` holds."""
        return self._callers[context]

    def check_again(self, context: grpc.ServicerContext) -> None:
        """End the call if its device has lost its good standing, or its key, since the call began."""
        device = self._callers[context]
        if self._devices.find(device.name) != device:
            what = "the device is not in good standing any more"
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "unknown_device", what)

    @contextmanager
    def stranger(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Hold a call for enrolment during the block; ends the call when its address asks for too much."""
        self._check_deadline(context)
        address = context.peer().rpartition(":")[0]
        self._spare(context, self._by_address, address)
        with self._place(context, self._enrolling, address):
            yield

    def _standing(self, context: grpc.ServicerContext) -> EnrolledDevice:
        certificate = _certificate(context)
        try:
            subject = Subject.of(certificate)
        except InputError as error:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "foreign_certificate", error.what)
        if subject.role is not Role.DEVICE:
            what = f"this port is for devices, not for the role {subject.role.value}"
            refuse(context, grpc.StatusCode.PERMISSION_DENIED, "wrong_role", what)
        device = self._devices.find(subject.name)
        if device is None or certificate.public_key() != device.key:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "unknown_device", "the device is not in good standing")
        if self._clock() >= ms_of(certificate.not_valid_after_utc):
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "certificate_expired", "the certificate has expired")
        return device

    def _check_deadline(self, context: grpc.ServicerContext) -> None:
        left = context.time_remaining()
        if left is None or left > self._limits.longest_s:
            what = f"a call needs a deadline of at most {self._limits.longest_s:g} s"
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "no_deadline", what)

    @staticmethod
    @contextmanager
    def _place(context: grpc.ServicerContext, room: Room, party: str) -> Iterator[None]:
        with room.hold(1, party) as granted:
            if not granted:
                refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many", "too many calls at once")
            yield

    @staticmethod
    def _spare(context: grpc.ServicerContext, buckets: Buckets, party: str) -> None:
        wait_s = buckets.take(party)
        if wait_s:
            what = f"too many calls; come back in {max(1, math.ceil(wait_s))} s"
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many", what)


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, what: str) -> NoReturn:
    """End a call with a code for programs (``skerry-reason``) and a sentence for people."""
    context.set_trailing_metadata((("skerry-reason", reason),))
    context.abort(code, what)
    raise RefusedError(reason, what)  # abort never returns; its stub does not say so


def _certificate(context: grpc.ServicerContext) -> x509.Certificate:
    shown = context.auth_context().get("x509_pem_cert")
    if not shown:
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, "foreign_certificate", "there is no client certificate")
    return x509.load_pem_x509_certificate(bytes(shown[0]))
