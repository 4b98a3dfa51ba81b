"""Each condition's measurement says what was measured, shows that the condition was in force, and can be kept."""

import json
from dataclasses import replace

import pytest

from skerry.device.bench.artefacts import prepare
from skerry.device.bench.conditions import parse_conditions
from skerry.device.bench.machine import machine, temperature, versions
from skerry.device.bench.measuring import measure, plan
from skerry.device.bench.profile import (
    Measured,
    Profile,
    compare,
    load_profile,
    profile_path,
    save_profile,
    to_json,
)
from skerry.device.bench.records import Artefact, Settings
from skerry.device.model_source import ModelSource, resolve_model
from skerry.errors import InputError, MissingDependencyError

SETTINGS = Settings(inferences=30, seconds=0.5, sustained_s=1.0, cold_starts=2)


def measured(files, conditions: str, precision: str = "fp32"):
    cells = plan([Artefact("onnxruntime", precision, files[precision])], parse_conditions([conditions]), SETTINGS)
    seen = []
    found = {m.condition: m for m in measure(cells, SETTINGS, lambda cell: seen.append(cell.condition.name))}
    assert seen == list(found)
    return found


@pytest.fixture(scope="module")
def found(files):
    return measured(files, "idle,burn,quota10,batch=4,sustained,memory=16MB,memory=900MB")


def test_every_timed_condition_has_its_figures(found, files):
    for name in ("idle", "burn", "quota10", "batch=4", "sustained"):
        m = found[name]
        assert m.skipped is None
        assert m.file_bytes == files["fp32"].stat().st_size
        assert 0 < m.latency.min_ms <= m.latency.p50_ms <= m.latency.p95_ms <= m.latency.p99_ms <= m.latency.max_ms
        assert m.throughput > 0
        assert m.cold.total_ms > m.cold.import_ms > 0
        assert 20 < m.peak_rss_mb < 500
    assert found["idle"].latency.n >= 30
    assert (found["idle"].cold.n, found["burn"].cold.n) == (2, 1)
    assert found["batch=4"].batch == 4


def test_the_conditions_were_in_force(found):
    assert found["quota10"].cpu_share < 0.3
    assert found["quota10"].withheld_share > 0.1
    assert found["idle"].withheld_share is None
    assert found["burn"].burnt_cores > 0.1
    assert found["burn"].elsewhere_cores > 0.1


def test_throughput_counts_examples_and_not_calls(files):
    cells = plan([Artefact("onnxruntime", "fp32", files["fp32"])], parse_conditions(["batch=64"]), SETTINGS)
    (m,) = measure(cells, SETTINGS)
    assert 0.2 < m.throughput * m.latency.mean_ms / 64e3 < 1.1


def test_a_sustained_run_tells_its_drift_over_time(found):
    m = found["sustained"]
    assert m.latency.n > 60
    assert 30 <= len(m.series) <= 60
    assert m.series[-1][0] >= 0.5
    assert m.drift.ratio == pytest.approx(m.drift.last_ms / m.drift.first_ms)
    assert found["idle"].drift is None


def test_a_memory_limit_is_kept_or_its_breach_reported(found):
    small, large = found["memory=16MB"].memory, found["memory=900MB"].memory
    assert not small.works
    assert small.why
    assert large.works
    assert found["memory=900MB"].latency.n >= 30


def test_the_least_memory_that_works_is_found(files):
    least = measured(files, "memory")["memory"].memory.least_mb
    assert 8 <= least <= 200
    again = measured(files, f"memory={least + 8}MB,memory={least - 8}MB")
    assert again[f"memory={least + 8}MB"].memory.works
    assert not again[f"memory={least - 8}MB"].memory.works


def test_what_a_model_cannot_do_is_skipped_with_the_reason(files):
    cells = plan(
        [Artefact("skerry", "fp32", files["fp32"])], parse_conditions(["idle"]), replace(SETTINGS, threads=(2,))
    )
    (m,) = measure(cells, SETTINGS)
    assert "one thread" in m.skipped
    assert m.latency is None


def test_a_torn_file_ends_the_measurement_with_its_name(files, tmp_path):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(files["fp32"].read_bytes()[:200])
    with pytest.raises(InputError, match="cannot read the model"):
        list(measure(plan([Artefact("onnxruntime", "fp32", torn)], parse_conditions(["memory"]), SETTINGS), SETTINGS))


def test_files_are_made_for_every_runtime_that_is_installed(files, tmp_path):
    source = resolve_model(str(files["graph"]), tmp_path)
    prepared = prepare(source, tmp_path, runtimes=("onnxruntime", "torch"))
    assert [(a.runtime, a.precision) for a in prepared.artefacts] == [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("torch", "fp32"),
    ]
    assert "torch int8" in prepared.absent
    assert prepared.model.input_shape == (3, 16, 16)
    assert prepared.model.name == "tiny.safetensors"
    assert "noise" in prepared.model.note
    assert all(
        m.latency.n >= 30 for m in measure(plan(prepared.artefacts, parse_conditions(["batch=2"]), SETTINGS), SETTINGS)
    )


def test_an_onnx_file_is_measured_as_it_is(files, tmp_path):
    source = resolve_model(str(files["int8"]), tmp_path)
    prepared = prepare(source, tmp_path, runtimes=("onnxruntime", "torch"))
    assert [(a.runtime, a.precision, a.file) for a in prepared.artefacts] == [("onnxruntime", "int8", files["int8"])]
    assert prepared.absent["torch fp32"] == "the model is in int8 only"


def test_a_runtime_that_was_asked_for_and_is_missing_is_an_error(files, tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.device.bench.artefacts.installed", lambda module: module != "executorch")
    source = resolve_model(str(files["graph"]), tmp_path)
    with pytest.raises(MissingDependencyError) as caught:
        prepare(source, tmp_path, runtimes=("executorch",))
    assert "skerry[export]" in caught.value.mend
    assert "executorch" in prepare(source, tmp_path).absent


def test_nothing_to_measure_says_why(files, tmp_path):
    with pytest.raises(InputError, match="int8 kernels"):
        prepare(
            ModelSource("x", "graph", graph_file=files["graph"]), tmp_path, runtimes=("torch",), precisions=("int8",)
        )


def profile(found, **changes) -> Profile:
    model = Measured("tiny", "onnx", (3, 16, 16), {"fp32 onnxruntime": "0" * 64}, "")
    made = Profile(
        1, 1_700_000_000_000, machine(), dict(versions()), model, SETTINGS, {"torch": "no"}, tuple(found.values())
    )
    return replace(made, **changes)


def test_a_profile_comes_back_as_it_was_kept(found, tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    made = profile(found)
    path = save_profile(made, "pi-4")
    assert path == tmp_path / "profiles" / "pi-4.json"
    assert load_profile("pi-4") == load_profile(str(path)) == made
    assert json.loads(path.read_text()) == to_json(made)


def test_a_profile_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    with pytest.raises(InputError, match="there is no profile"):
        load_profile("nobody")
    (tmp_path / "x.json").write_text('{"schema": 2}')
    with pytest.raises(InputError, match="not a device profile: schema"):
        load_profile(str(tmp_path / "x.json"))
    with pytest.raises(InputError, match="not the name"):
        profile_path("../up")


def test_two_profiles_are_compared_where_both_have_measured(found):
    slow = replace(
        found["idle"],
        latency=replace(found["idle"].latency, p50_ms=2 * found["idle"].latency.p50_ms),
        peak_rss_mb=4 * found["idle"].peak_rss_mb,
    )
    there = profile({"idle": slow, "burn": replace(found["burn"], skipped="not there")})
    (one,) = compare(profile(found), there)
    assert one.key == ("onnxruntime", "fp32", 1, "idle")
    assert (one.p50, one.p95, one.peak_rss) == pytest.approx((0.5, 1.0, 0.25))


def test_a_machine_is_read_from_the_kernel(tmp_path):
    """A Raspberry Pi 5 as its kernel describes it."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nFeatures\t: fp asimd evtstrm asimdhp asimddp\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n"
    )
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("81250\n")
    found = machine(tmp_path)
    assert found.processor == "Raspberry Pi 5"
    assert found.isa == ("asimd", "asimddp", "asimdhp")
    assert temperature(tmp_path) == 81.25
    assert temperature(tmp_path / "proc") is None
