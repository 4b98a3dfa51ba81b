"""A run's spans reach a real collector as a tree; they hold nothing private, and change and delay nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from skerry.config import default_scenario, parse_scenario
from skerry.runfolder import RunFolder, list_runs
from skerry.server.launch import launch
from skerry.server.tracing import UNTRACED, asked_for, traced
from tests._device_level import POISSON

from ._collector import Collector, attributes

STAGES = ["plan", "checkpoint", "collect", "open", "validate", "screen", "aggregate", "account"]
SETTINGS = ["rounds=2", "report.references=false"]
TOLD = {
    "skerry.run", "skerry.scenario", "skerry.engine", "skerry.rounds", "skerry.privacy.unit", "skerry.round",
    "skerry.devices.accepted", "skerry.devices.flagged", "skerry.devices.dropped", "skerry.bytes.down",
    "skerry.bytes.up", "skerry.skipped", "skerry.device", "skerry.outcome",
}  # fmt: skip

# Everything that OpenTelemetry is made of is hidden: a run that nobody wants traced must not miss it.
WITHOUT = f"""
import sys
from pathlib import Path
sys.modules["opentelemetry"] = None
from skerry.config import default_scenario
from skerry.server.launch import launch
launch(default_scenario({SETTINGS!r}), engine="inprocess", parent=Path(sys.argv[1]))
assert not [name for name in sys.modules if name.startswith(("opentelemetry.", "mlflow"))]
"""


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, parse_scenario('name = "mine"'), engine="inprocess")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory):
    """Two rounds of the shipped scenario, and the collector that was told of them."""
    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        run = launch(default_scenario(SETTINGS), engine="inprocess", parent=tmp_path_factory.mktemp("traced"))
    return collector, run


def test_a_run_is_a_tree_of_rounds_and_their_stages(seen: tuple[Collector, RunFolder]) -> None:
    collector, run = seen
    assert collector.faults == []
    top = collector.one("run")
    assert top.parent_span_id == b""
    assert attributes(top)["skerry.run"] == run.id
    assert {span.trace_id for span in collector.spans} == {top.trace_id}
    assert [span.name for span in collector.children(top)] == [
        "prepare", "discover", "base", "round", "round", "finish", "report",
    ]  # fmt: skip
    for number, (span, record) in enumerate(zip(collector.named("round"), run.rounds(), strict=True), 1):
        told = attributes(span)
        assert told["skerry.round"] == number
        assert told["skerry.devices.accepted"] == len(record.accepted)
        assert told["skerry.devices.flagged"] == len(record.flagged)
        assert told["skerry.bytes.up"] == record.bytes_up
        assert told["skerry.skipped"] is False
        inside = [one for one in collector.children(span) if one.name != "exchange"]
        assert [one.name for one in inside if one.start_time_unix_nano < _stage(inside, "account")] == STAGES[:-1]
        assert sorted(one.name for one in inside) == sorted([*STAGES, "checkpoint"])
        (account,) = (one for one in inside if one.name == "account")
        assert [one.name for one in collector.children(account)] == ["evaluate"]
        assert all(_within(one, span) for one in inside if one.name != "checkpoint")


def test_each_device_that_was_asked_is_an_exchange_with_its_outcome(seen: tuple[Collector, RunFolder]) -> None:
    collector, run = seen
    for span, record in zip(collector.named("round"), run.rounds(), strict=True):
        exchanges = [one for one in collector.children(span) if one.name == "exchange"]
        outcomes = {attributes(one)["skerry.device"]: attributes(one)["skerry.outcome"] for one in exchanges}
        assert len(exchanges) == len(outcomes) == len(record.accepted) + len(record.dropped)
        assert outcomes == {**dict.fromkeys(record.accepted, "accepted"), **record.dropped}
        (collect,) = (one for one in collector.children(span) if one.name == "collect")
        assert all(one.end_time_unix_nano <= collect.end_time_unix_nano + 1_000_000 for one in exchanges)
        assert any(one.end_time_unix_nano > one.start_time_unix_nano for one in exchanges)


def test_spans_tell_counts_and_names_and_nothing_that_was_measured_on_data(seen: tuple[Collector, RunFolder]) -> None:
    collector, _ = seen
    told = [pair for span in collector.spans for pair in attributes(span).items()]
    assert {key for key, _ in told} == TOLD
    assert all(isinstance(value, str | int) for _, value in told)  # a loss, a norm or ε would be a float
    assert not any(span.events or span.links for span in collector.spans)
    assert all(found["service.name"] == "skerry" for found in collector.resources)
    assert all(found["deployment.environment"] == "test" for found in collector.resources)
    assert all(found.keys() == {"service.name", "service.version", "deployment.environment"}
               for found in collector.resources)  # fmt: skip


def test_without_the_extra_a_run_imports_nothing_of_it_and_comes_to_the_same(
    seen: tuple[Collector, RunFolder], tmp_path: Path
) -> None:
    _, run = seen
    subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path)], check=True)
    (other,) = list_runs(tmp_path)
    assert [one.vector_digest for one in other.rounds()] == [one.vector_digest for one in run.rounds()]
    assert other.notices == run.notices


def test_under_poisson_sampling_nobody_is_told_who_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = default_scenario(
        (*POISSON, "cohort.rate=0.9", "privacy.denominator=10", "rounds=1", "report.references=false")
    )
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        run = launch(scenario, engine="inprocess", parent=tmp_path)
    (record,) = run.rounds()
    assert record.accepted
    told = attributes(collector.one("round"))
    assert told == {
        "skerry.round": 1,
        "skerry.skipped": False,
    }  # counts and bytes tell of the draw
    assert collector.named("exchange") == []
    assert not any("skerry.device" in attributes(span) for span in collector.spans)


@pytest.mark.parametrize("away", [True, False])
def test_a_collector_that_takes_nothing_costs_a_run_a_notice_and_no_more(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, *, away: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with Collector(code=400) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9" if away else collector.url)
        with traced(folder) as tracing, tracing.span("round"):
            pass
    assert folder.notices == ("2 of 2 spans reached no collector; see logs/traces.log",)
    assert "Failed to export" in (folder.path / "logs" / "traces.log").read_text()


def test_what_ends_a_run_is_told_by_its_type_alone(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        with pytest.raises(KeyboardInterrupt), traced(folder) as tracing, tracing.span("round"):
            raise KeyboardInterrupt("pi-3 said 0.73")
    assert {span.name for span in collector.spans} == {"run", "round"}
    for span in collector.spans:
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "KeyboardInterrupt")
        assert b"0.73" not in span.SerializeToString()
    assert folder.notices == ()


def test_a_program_that_is_traced_itself_sees_the_run_inside_its_own_span(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with TracerProvider().get_tracer("theirs").start_as_current_span("theirs") as theirs, traced(folder):
            pass
    assert collector.one("run").parent_span_id == theirs.get_span_context().span_id.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False),
    ],
)
def test_the_standard_variables_switch_it(settings: dict[str, str], *, asked: bool) -> None:
    assert asked_for(settings) is asked


@pytest.mark.parametrize(
    ("setting", "notice"),
    [
        (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), "over http/protobuf only, and OTEL_* asks for grpc"),
        (("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"), "max_export_batch_size must be a positive integer"),
        (("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nope"), "cannot be used (RuntimeError)"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_run_goes_on(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, setting: tuple[str, str], notice: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(*setting)
    with traced(folder) as tracing:
        assert tracing is UNTRACED
    (told,) = folder.notices
    assert notice in told


def test_a_token_in_headers_that_cannot_be_read_is_not_logged(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization Bearer secret")
        with traced(folder):
            pass
    assert "secret" not in caplog.text
    assert collector.one("run")


@pytest.mark.parametrize("headers", ["authorization=Bearer secret\nmore", "a=b,authorization=Bearer secret%0Amore"])
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_a_token_with_a_line_break_is_not_sent_and_not_logged(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, headers: str
) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv(name, headers)
        with traced(folder) as tracing, tracing.span("exchange"):
            pass
    (told,) = folder.notices
    assert "line break" in told
    kept = [path.read_text() for path in folder.path.rglob("*.log")]
    assert "secret" not in "".join([told, caplog.text, *kept])
    assert collector.spans == []


def test_a_line_break_around_a_header_is_left_away(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret%0A,\n")
        with traced(folder):
            pass
    assert collector.one("run")


@pytest.mark.parametrize(("answer_s", "closing_s"), [(3600.0, 3600.0), (0.5, 0.0)], ids=["silent", "slow"])
def test_at_the_end_no_batch_is_sent_after_one_that_failed_or_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch, answer_s: float, closing_s: float
) -> None:
    from skerry.server.otel import CollectedTracing

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1" if answer_s > 60 else "180")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "256")
    with Collector(answer_s=answer_s) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing = CollectedTracing(closing_s)
        for _ in range(256 * 20):
            tracing.finished("exchange", {}, began=1, ended=2)
        lost = tracing.close()
        sent = collector.batches
    assert 0 < tracing.made - len(collector.spans) <= lost <= tracing.made  # what came and was not acknowledged is lost
    assert sent < 10  # those of the time before, and the one that was under way


def test_a_missing_extra_is_said_and_the_run_goes_on(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delitem(sys.modules, "skerry.server.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with traced(folder) as tracing:
        assert tracing is UNTRACED
    (told,) = folder.notices
    assert "pip install 'skerry[otel]'" in told


def _stage(spans: list[Span], name: str) -> int:
    return next(span.start_time_unix_nano for span in spans if span.name == name)


def _within(inner: Span, outer: Span) -> bool:
    return (
        outer.start_time_unix_nano <= inner.start_time_unix_nano
        and inner.end_time_unix_nano <= outer.end_time_unix_nano
    )
