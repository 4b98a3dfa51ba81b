"""Spans by OpenTelemetry's SDK, handed to a collector over OTLP (HTTP, protobuf) in a thread of the SDK's own.

Endpoint, headers, certificates, sampling, batches and names are those of the standard variables (``OTEL_*``), read by
the SDK. Nothing is registered for the process: whoever calls a run from a traced program keeps its own provider.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode

from skerry import __version__
from skerry.server.tracing import Attributes

__all__ = ["CollectedTracing"]

_PATIENCE_S = 3.0
"""For one batch, where the environment says nothing else."""
_CLOSING_S = 6.0
"""At a run's end batches are sent until one fails, or for so long."""
_QUEUE = 65_536
"""Spans, where the environment says nothing else: those of a round of ten thousand devices wait for their batches."""


class CollectedTracing:
    """See :class:`~skerry.server.tracing.Tracing`; spans leave in batches, and the last of them with :meth:`close`."""

    def __init__(self, closing_s: float = _CLOSING_S) -> None:
        self._exporter = _Counted(_exporter())
        self._closing_s = closing_s
        queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
        self._provider = TracerProvider(
            resource=Resource({"service.name": "skerry", "service.version": __version__}).merge(
                OTELResourceDetector().detect()
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=queue))
        self._tracer = self._provider.get_tracer("skerry", __version__)
        self._mutex = threading.Lock()
        self.made = 0

    @contextmanager
    def span(self, name: str, attributes: Attributes | None = None) -> Iterator[None]:
        """A span that lasts as long as a block; of what the block raises only the type is told."""
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            self._count(span)
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def tell(self, attributes: Attributes) -> None:
        """Say more of the innermost open span."""
        trace.get_current_span().set_attributes(attributes)

    def finished(self, name: str, attributes: Attributes, *, began: int, ended: int) -> None:
        """A span of something that is over."""
        span = self._tracer.start_span(name, attributes=attributes, start_time=began * 1_000_000)
        self._count(span)
        span.end(max(began, ended) * 1_000_000)

    def behind(self, name: str, work: Callable[..., None]) -> Callable[..., None]:
        """The same work with a span in the thread that does it."""
        here = context.get_current()

        def there(*arguments: object) -> None:
            token = context.attach(here)
            try:
                with self.span(name):
                    work(*arguments)
            finally:
                context.detach(token)

        return there

    def close(self) -> int:
        """Hand over what is left; how many spans the collector did not acknowledge.

        No batch begins after ``closing_s``, and none after one that failed.
        """
        self._exporter.close_by(time.monotonic() + self._closing_s)
        self._provider.shutdown()
        return self.made - self._exporter.taken

    def _count(self, span: Span) -> None:
        with self._mutex:  # rounds and what is written behind have a thread each
            self.made += span.is_recording()


class _Counted(SpanExporter):
    """Counts what the collector took, and sends nothing more once that is in vain at a run's end."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._until = math.inf
        self.taken = 0

    def close_by(self, until: float) -> None:
        """Begin no batch after this time, nor after one that fails from now on."""
        self._until = until

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() >= self._until:
            return SpanExportResult.FAILURE
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.taken += len(spans)
        elif self._until < math.inf:
            self._until = -math.inf
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def _exporter() -> OTLPSpanExporter:
    told = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} & os.environ.keys()
    return OTLPSpanExporter(timeout=None if told else _PATIENCE_S)
