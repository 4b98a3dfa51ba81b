"""Whatever goes wrong ends a call with a reason: bytes that are no message, and what of ours cannot be used now.

gRPC alone would log a traceback for each message of garbage, and send the text of any exception to the caller.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from skerry.errors import SkerryError
from skerry.server.service.guard import refuse

__all__ = ["Strictness"]

_log = logging.getLogger(__name__)


class Strictness(grpc.ServerInterceptor):  # type: ignore[misc] # grpcio ships no types
    """Reads requests of calls with one request each, which are all of ours."""

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

        @contextmanager
        def checked(request: Any, context: grpc.ServicerContext) -> Iterator[None]:
            if request is _NOTHING:
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", "the bytes are not this call's message")
            try:
                yield
            except SkerryError as error:
                _log.error("%s: %s", call.method, error)
                refuse(context, grpc.StatusCode.UNAVAILABLE, "server_failed", "the server cannot do this now")

        def one(request: Any, context: grpc.ServicerContext) -> Any:
            with checked(request, context):
                return handler.unary_unary(request, context)

        def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with checked(request, context):
                yield from handler.unary_stream(request, context)

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(many, read_or_nothing, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(one, read_or_nothing, handler.response_serializer)


_NOTHING = object()
