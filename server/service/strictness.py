"""Whatever goes wrong ends a call with a reason: bytes that are no message, and what of ours cannot be used now.

gRPC alone would log a traceback for each message of garbage, and send the text of any exception to the caller.
"""

import logging
from collections.abc import Callable
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

        def checked(behaviour: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[..., Any]:
            def answer(request: Any, context: grpc.ServicerContext) -> Any:
                if request is _NOTHING:
                    refuse(
                        context, grpc.StatusCode.INVALID_ARGUMENT, "malformed", "the bytes are not this call's message"
                    )
                try:
                    return behaviour(request, context)
                except SkerryError as error:
                    _log.error("%s: %s", call.method, error)
                    refuse(context, grpc.StatusCode.UNAVAILABLE, "server_failed", "the server cannot do this now")

            return answer

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                checked(handler.unary_stream), read_or_nothing, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            checked(handler.unary_unary), read_or_nothing, handler.response_serializer
        )


_NOTHING = object()
