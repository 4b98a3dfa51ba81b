"""Bytes that are no message end a call with a reason, like any refusal; gRPC alone would log a traceback for each."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from skerry.server.service.guard import refuse

__all__ = ["Strictness"]


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
                return behaviour(request, context)

            return answer

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                checked(handler.unary_stream), read_or_nothing, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            checked(handler.unary_unary), read_or_nothing, handler.response_serializer
        )


_NOTHING = object()
