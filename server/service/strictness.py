"""Around every call: who calls is asked before anything is waited for, and whatever goes wrong ends it with a reason.

A call of gRPC can be opened and then send nothing. Every handler therefore takes its one request as a stream, which
gives it the caller first: the guard decides, and then the request has a few seconds. gRPC alone would hold a thread
for the missing request until the caller's own deadline, log a traceback for each message of garbage, and send the
text of any exception to the caller.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Timer
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from skerry.errors import SkerryError
from skerry.server.service.guard import refuse

__all__ = ["Strictness"]

_log = logging.getLogger(__name__)
_NOTHING = object()


class Strictness(grpc.ServerInterceptor):  # type: ignore[misc] # grpcio ships no types
    """For calls with one request each, which are all of ours.

    Args:
        admit: holds a call during the block, or ends it.
        message_s: seconds for the request to come after the call was admitted.
    """

    def __init__(self, admit: Callable[[grpc.ServicerContext], AbstractContextManager[None]], message_s: float) -> None:
        self._admit = admit
        self._message_s = message_s

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """The handler of a call, with another reading."""
        handler = continuation(call)
        if handler is None:
            return None
        read = handler.request_deserializer

        def read_or_nothing(data: bytes) -> Any:
            try:
                return read(data)
            except DecodeError:
                return _NOTHING

        def one(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with _reasons(call.method, context), self._admit(context):
                return handler.unary_unary(self._first(requests, context), context)

        def many(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with _reasons(call.method, context), self._admit(context):
                yield from handler.unary_stream(self._first(requests, context), context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(many, read_or_nothing, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(one, read_or_nothing, handler.response_serializer)

    def _first(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The request; the call is cancelled when it does not come in time."""
        timer = Timer(self._message_s, context.cancel)
        timer.daemon = True
        timer.start()
        try:
            request = next(requests, _NOTHING)
        finally:
            timer.cancel()
        if request is _NOTHING:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", "the bytes are not this call's message")
        return request


@contextmanager
def _reasons(method: str, context: grpc.ServicerContext) -> Iterator[None]:
    """What of ours cannot be used now is said in the log, and no text of it to the caller.

    A call that was given up raises an error that gRPC keeps with the call. With its traceback it would keep the call
    alive until Python next looks for cycles, and gRPC counts it among the connection's calls for as long.
    """
    try:
        yield
    except grpc.RpcError as error:
        error.__traceback__ = None
        refuse(context, grpc.StatusCode.CANCELLED, "given_up", "the call ended before it was answered")
    except SkerryError as error:
        _log.error("%s: %s", method, error)
        refuse(context, grpc.StatusCode.UNAVAILABLE, "server_failed", "the server cannot do this now")
