"""The calls of enrolled devices: renewal, downloads, receipts, condition."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import grpc

from skerry.clock import Clock
from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc
from skerry.errors import InputError, RefusedError
from skerry.security.enrolment import EnrolmentTransport
from skerry.security.strict import check_name
from skerry.server.repository_files import open_below
from skerry.server.service.enrolling import asked
from skerry.server.service.guard import Guard, refuse
from skerry.server.service.inbox import Inbox, LastCondition, noting_downloads

__all__ = ["DeviceServicer"]

_CHUNK = 256 << 10


class DeviceServicer(rpc.DeviceServicer):
    """``Device`` of ``device.proto``.

    Args:
        desk: renews certificates.
        guard: knows who calls.
        repository: folder of releases.
        inbox: keeps what devices hand in.
        downloads: of one device at once.
        clock: of the server.
    """

    def __init__(
        self,
        desk: EnrolmentTransport,
        guard: Guard,
        repository: Path,
        inbox: Inbox,
        *,
        downloads: int,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._guard = guard
        self._repository = repository
        self._inbox = inbox
        self._note_download = noting_downloads(inbox, clock)
        self._most = downloads
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._lock = Lock()

    def Renew(self, request: "pb.Record", context: grpc.ServicerContext) -> "pb.Record":  # noqa: N802 - the service's own names
        """The next certificate of the same key."""
        return asked(context, lambda: self._desk.renew(request.body))

    def Revocations(self, request: "pb.Nothing", context: grpc.ServicerContext) -> "pb.Record":  # noqa: N802, ARG002 - as above
        """The signed revocation list, DER."""
        return asked(context, self._desk.revocations)

    def Fetch(self, request: "pb.FetchRequest", context: grpc.ServicerContext) -> "Iterator[pb.Chunk]":  # noqa: N802 - as above
        """Part of a file of the repository, chunk by chunk as fast as a device in good standing takes them."""
        device = self._guard.caller(context)
        self._begin(context, device.name)
        try:
            file = open_below(self._repository, request.path)
        except FileNotFoundError as error:
            refuse(context, grpc.StatusCode.NOT_FOUND, "no_such_file", str(error))
        try:
            size = os.fstat(file).st_size
            at, stop = request.offset, min(size, request.offset + request.length) if request.length else size
            if at > size:
                refuse(context, grpc.StatusCode.OUT_OF_RANGE, "bad_range", f"the file has {size} bytes")
            yield pb.Chunk(size=size, offset=at)
            while at < stop:
                self._guard.check_again(context)
                data = os.pread(file, min(_CHUNK, stop - at), at)
                if not data:
                    refuse(context, grpc.StatusCode.ABORTED, "file_changed", "the file was cut short meanwhile")
                yield pb.Chunk(size=size, offset=at, data=data)
                at += len(data)
            folder, _, name = request.path.rpartition("/")
            if folder == "blobs" and at == size:
                self._note_download(device.name, name)
        finally:
            os.close(file)

    def SubmitReceipt(self, request: "pb.Receipt", context: grpc.ServicerContext) -> "pb.Accepted":  # noqa: N802 - as above
        """Keep a receipt; the same again is known."""
        device = self._guard.caller(context)
        try:
            check_name(request.kind, "a receipt's kind")
            if not request.body:
                raise InputError("a receipt is not empty")
            return pb.Accepted(
                known=self._inbox.keep_receipt(device.name, request.kind, request.body, now=self._clock())
            )
        except InputError as error:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", error.what)
        except RefusedError as error:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error.reason, error.what)

    def Telemetry(self, request: "pb.Condition", context: grpc.ServicerContext) -> "pb.Accepted":  # noqa: N802 - as above
        """Note how the device is; what is no step of the scale is not noted."""
        device = self._guard.caller(context)
        levels = (request.battery, request.free_memory, request.free_disk)
        if request.activity not in pb.Activity.values() or not set(levels) <= set(pb.Level.values()):
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", "not a step of the scale")
        if not request.ByteSize():  # also what gRPC makes of a frame that it cannot read
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", "nothing is said of the device")
        self._inbox.keep_condition(LastCondition(device.name, self._clock(), request.activity, *levels))
        return pb.Accepted()

    def _begin(self, context: grpc.ServicerContext, device: str) -> None:
        """Count a download until its call is over, however it ends."""
        with self._lock:
            granted = self._running[device] < self._most
            self._running[device] += granted
        if not granted:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many", "the device downloads too much at once")
        if not context.add_callback(lambda: self._end(device)):
            self._end(device)

    def _end(self, device: str) -> None:
        with self._lock:
            self._running[device] -= 1
            if not self._running[device]:
                del self._running[device]
