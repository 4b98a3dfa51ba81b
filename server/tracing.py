"""Spans of a run for a collector of OpenTelemetry, where the environment asks for them; nothing else of a run changes.

::

    run                            scenario, engine, unit
    ├── prepare, discover, base
    ├── round                      number, how many were accepted, flagged, dropped, bytes
    │   ├── plan, checkpoint, collect, open, validate, screen, aggregate, account ─ evaluate
    │   ├── exchange …             one a device that was asked, with its outcome; none under Poisson sampling
    │   └── checkpoint             in the thread that writes behind
    └── finish, report

No span has a loss, an accuracy, a norm, a score or ε, and a failure is told by its type alone: what was measured
is in the run's folder. Under Poisson sampling nobody but the coordinator may learn who was asked, or the amplification
that is accounted is gone: there no device has a span, since how long one takes may tell which it is, and a round has no
counts and no bytes. Its stages still have times: whoever runs the collector must be trusted not to guess from them.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from skerry.errors import DiskFullError
from skerry.runfolder import RunFolder

if TYPE_CHECKING:  # what it needs is part of the extra `otel`
    from skerry.server.otel import CollectedTracing

__all__ = ["UNTRACED", "Attributes", "Tracing", "asked_for", "traced"]

Attributes = Mapping[str, str | int | bool]

_NONE: Attributes = MappingProxyType({})
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PROTOCOL = "http/protobuf"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Tracing(Protocol):
    """Where a run's spans go; each is a child of the innermost one that is open in its thread."""

    def span(self, name: str, attributes: Attributes = _NONE) -> AbstractContextManager[None]:
        """A span that lasts as long as a block."""
        ...

    def tell(self, attributes: Attributes) -> None:
        """Say more of the innermost open span."""
        ...

    def finished(self, name: str, attributes: Attributes, *, began: int, ended: int) -> None:
        """A span of something that is over; both times in ms since the epoch."""
        ...

    def behind(self, name: str, work: Callable[..., None]) -> Callable[..., None]:
        """The same work for another thread, with a span there, a child of the one that is open here and now."""
        ...


class _Untraced:
    """Keeps nothing."""

    def span(self, name: str, attributes: Attributes = _NONE) -> AbstractContextManager[None]:  # noqa: ARG002 - as agreed
        return nullcontext()

    def tell(self, attributes: Attributes) -> None:
        pass

    def finished(self, name: str, attributes: Attributes, *, began: int, ended: int) -> None:
        pass

    def behind(self, name: str, work: Callable[..., None]) -> Callable[..., None]:  # noqa: ARG002 - as agreed
        return work


UNTRACED: Tracing = _Untraced()


@contextmanager
def traced(folder: RunFolder) -> Iterator[Tracing]:
    """The run's tracing, with its span ``run`` open, and closed when the block is left.

    Whatever becomes of the spans, the run goes on: what could not be handed over is told in its notices, and why in
    ``logs/traces.log``.
    """
    collected = _collected(folder) if asked_for(os.environ) else None
    if collected is None:
        yield UNTRACED
        return
    scenario = folder.scenario
    about: Attributes = {
        "skerry.run": folder.id,
        "skerry.scenario": scenario.name,
        "skerry.engine": str(folder.status["engine"]),
        "skerry.rounds": scenario.rounds,
        "skerry.privacy.unit": scenario.privacy.unit,
    }
    from skerry.server.engines.engine import logging_to, logs

    with logging_to(logs(folder) / "traces.log", "opentelemetry"):
        try:
            with collected.span("run", about):
                yield collected
        finally:
            lost = collected.close()
            if lost:
                with suppress(DiskFullError):  # no room for this word: what ended the run is told instead
                    folder.notify(f"{lost} of {collected.made} spans reached no collector; see logs/traces.log")


def asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the variables that OpenTelemetry defines ask for spans over OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporters:
        return "otlp" in [name.strip() for name in exporters.split(",")]
    return any(environment.get(name, "").strip() for name in _ENDPOINTS)


def _collected(folder: RunFolder) -> "CollectedTracing | None":
    """None, and a notice, where what is asked for cannot be done here."""
    protocol = next((value for name in _PROTOCOLS if (value := os.environ.get(name, "").strip())), _PROTOCOL)
    if protocol != _PROTOCOL:
        folder.notify(f"no traces: spans are sent over {_PROTOCOL} only, and OTEL_* asks for {protocol}")
        return None
    if any(_unsendable(os.environ.get(name, "")) for name in _HEADERS):
        folder.notify("no traces: a header in OTEL_EXPORTER_OTLP_HEADERS holds a line break or the like")
        return None
    try:
        from skerry.server.otel import CollectedTracing
    except ModuleNotFoundError:
        folder.notify("no traces: OTEL_* asks for them, and they need `pip install 'skerry[otel]'`")
        return None
    try:
        with _headers_unsaid():
            return CollectedTracing()
    except ValueError as error:  # sizes of the SDK's queues that do not fit together
        folder.notify(f"no traces: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a plug-in of the SDK raises; a credential may stand in it
        folder.notify(f"no traces: OTEL_* asks for something that cannot be used ({type(error).__name__})")
    return None


def _unsendable(headers: str) -> bool:
    """Whether HTTP cannot send one of these pairs: who tries quotes its value, often a token, in a log."""
    pairs = (unquote(pair.strip()).strip() for pair in headers.split(","))
    return any(character < " " or character == "\x7f" for pair in pairs for character in pair if character != "\t")


@contextmanager
def _headers_unsaid() -> Iterator[None]:
    """The SDK says headers that it cannot read in full, and a token stands in them."""
    reader = logging.getLogger("opentelemetry.util.re")
    reader.addFilter(_silent)
    try:
        yield
    finally:
        reader.removeFilter(_silent)


def _silent(record: logging.LogRecord) -> bool:
    return record.levelno > logging.CRITICAL
