"""What Prometheus is told is what the runs say; it names no device, and what cannot be read is told as such."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from skerry.clock import system_clock
from skerry.records import Reason
from skerry.server.metrics import metrics_of
from skerry.server.registry import Registry
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.records import DeviceKind, JudgedRound, Scope
from tests.sample_run import build

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


def _told(runs: Path, **more: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = generate_latest(metrics_of(runs, system_clock, **more)).decode()
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def _of(told: dict, name: str, **labels: str) -> list[float]:
    return [value for (named, has), value in told.items() if named == name and has >= frozenset(labels.items())]


def test_a_run_is_told_as_its_rounds_say(tmp_path: Path) -> None:
    run = build(tmp_path, ("rounds=4",))
    rounds, told = run.rounds(), _told(tmp_path)
    assert _of(told, "skerry_run_rounds_total", run=run.id) == [4]
    assert _of(told, "skerry_run_accuracy", run=run.id) == [rounds[-1].accuracy]
    assert _of(told, "skerry_run_epsilon", run=run.id) == [rounds[-1].epsilon_max]
    assert _of(told, "skerry_run_epsilon_budget", run=run.id) == [run.scenario.privacy.epsilon]
    assert _of(told, "skerry_run_updates_total", run=run.id) == [sum(len(one.accepted) for one in rounds)]
    assert sum(_of(told, "skerry_run_updates_dropped_total", run=run.id)) == sum(len(one.dropped) for one in rounds) > 0
    assert _of(told, "skerry_run_bytes_total", run=run.id, direction="up") == [sum(one.bytes_up for one in rounds)]
    assert _of(told, "skerry_run", run=run.id, state="complete", unit="example", delta="1e-05") == [1]
    assert _of(told, "skerry_server_up") == [0]
    assert _of(told, "skerry_unreadable", kind="run") == _of(told, "skerry_unreadable", kind="registry") == [0]


def test_every_reason_is_told_of_before_the_first_update_is_dropped_for_it(tmp_path: Path) -> None:
    run = build(tmp_path, ("rounds=2",), state="running", rounds_done=0)
    told = _told(tmp_path)
    assert [_of(told, "skerry_run_updates_dropped_total", run=run.id, reason=reason) for reason in Reason] == [
        [0] for _ in Reason
    ]


def test_a_run_without_privacy_has_no_epsilon_and_one_without_rounds_no_accuracy(tmp_path: Path) -> None:
    build(tmp_path, ("rounds=2", "privacy.unit=none", "name=open"))
    build(tmp_path, ("rounds=2", "name=begun"), state="running", rounds_done=0)
    told = _told(tmp_path)
    assert not [labels for (name, labels) in told if name.startswith("skerry_run_epsilon") and "open-" in str(labels)]
    assert not [labels for (name, labels) in told if name == "skerry_run_accuracy" and "begun-" in str(labels)]


def test_no_device_is_named(tmp_path: Path) -> None:
    build(tmp_path, ("rounds=2",))
    registry = Registry(tmp_path)
    registry.record(Scope("digits/digits", DeviceKind.SIMULATED), "a", [JudgedRound(1, system_clock(), ())])
    assert b"writer-" not in generate_latest(metrics_of(tmp_path, system_clock))


def test_under_poisson_sampling_nothing_is_told_of_how_many_were_asked(tmp_path: Path) -> None:
    plain = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite", "shape", "fresh"]')
    drawn = ("privacy.unit=device", "cohort.sampling=poisson", "cohort.rate=0.5", "privacy.denominator=6", *plain)
    other, run = build(tmp_path, ("rounds=3",)), build(tmp_path, ("rounds=3", "name=drawn", *drawn))
    told = _told(tmp_path)
    of_other, of_run = ({name for name, labels in told if ("run", one.id) in labels} for one in (other, run))
    assert {name for name in of_other - of_run if not name.endswith("_created")} == {
        "skerry_run_updates_total",
        "skerry_run_updates_flagged_total",
        "skerry_run_updates_dropped_total",
        "skerry_run_bytes_total",
        "skerry_run_round_seconds",
    }
    assert _of(told, "skerry_run_rounds_total", run=run.id) == [3]


def test_only_the_newest_runs_are_told_of_and_those_under_way(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        build(tmp_path, ("rounds=1", f"name={name}"))
    told = _told(tmp_path, newest=1)
    assert len(_of(told, "skerry_run")) == 1


def test_what_cannot_be_read_is_counted_and_the_rest_is_told(tmp_path: Path) -> None:
    good = build(tmp_path, ("rounds=1",))
    bad = build(tmp_path, ("rounds=1", "name=bad"))
    (bad.path / "rounds.jsonl").write_text('{"round": 1}\n')
    for at, status in enumerate((b"", b"{}", b"[]", b'{"started": 1, "state": "complete"}')):
        damaged = build(tmp_path, ("rounds=1", f"name=damaged-{at}"))
        (damaged.path / "status.json").write_bytes(status)
    (tmp_path / "registry.sqlite").write_bytes(b"no database" * 100)
    text = generate_latest(metrics_of(tmp_path, system_clock)).decode().splitlines()
    samples = [line.split(" ")[0] for line in text if not line.startswith("#")]
    assert len(samples) == len(set(samples))  # Prometheus refuses a scrape that tells one thing twice
    told = _told(tmp_path)
    assert _of(told, "skerry_run_rounds_total", run=good.id) == [1]
    assert _of(told, "skerry_unreadable", kind="run") == [5]
    assert _of(told, "skerry_unreadable", kind="registry") == [1]


def test_a_scrape_over_http_sees_a_round_that_was_finished_meanwhile(tmp_path: Path) -> None:
    run = build(tmp_path, ("rounds=3",), state="running", rounds_done=1)
    server, thread = start_http_server(0, "127.0.0.1", metrics_of(tmp_path, system_clock))
    try:

        def rounds() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=180) as answer:
                return next(line for line in answer.read().decode().splitlines() if "rounds_total{" in line)

        assert rounds().endswith(" 1.0")
        path = run.path / "rounds.jsonl"
        path.write_text(path.read_text() * 2)
        assert rounds().endswith(" 2.0")
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("runs")
    build(folder, ("rounds=1",))
    RegistryFile(folder / "registry.sqlite").ensure()
    text = generate_latest(metrics_of(folder, system_clock)).decode()
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    return {f"{name}_total" if kind == "counter" else name for name, kind in found.items()}


def _used(expression: str) -> set[str]:
    return set(re.findall(r"skerry_[a-z_]+", expression))


def test_dashboard_and_alerts_ask_for_nothing_that_is_not_told(names: set[str]) -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    alerts = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))
    asked += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    assert len(asked) > 15
    for expression in asked:
        assert _used(expression), expression
        assert _used(expression) <= names, expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_alerts_are_raised_when_they_should_be_and_not_else() -> None:
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
