"""What is measured runs in a process of its own, which says what happened and never outlives its measurement."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from skerry.device.bench.probing import Job, Probe, ProbeDied
from skerry.errors import InputError, MissingDependencyError, RunFailedError


@pytest.mark.parametrize("runtime", ["onnxruntime", "skerry", "torch"])
def test_a_cold_start_and_a_burst(files, runtime):
    job = Job(runtime, files["graph" if runtime == "torch" else "fp32"])
    with Probe() as probe:
        opening = probe.open(job, start_s=probe.up())
        burst = probe.burst(count=5)
        assert psutil.Process(probe.pid).ppid() == os.getpid()
        three = probe.burst(batch=3, count=2)
    assert opening.shape == (3, 16, 16)
    assert min(opening.start_s, opening.import_s, opening.load_s, opening.first_s) > 0
    assert opening.total_s == pytest.approx(opening.start_s + opening.import_s + opening.load_s + opening.first_s)
    assert 10e6 < opening.peak_rss <= burst.peak_rss
    assert len(burst.latencies) == len(burst.ends) == 5
    assert list(burst.ends) == sorted(burst.ends)
    assert len(three.latencies) == 2
    assert not psutil.pid_exists(probe.pid)


def test_peak_memory_is_its_own_and_not_its_parents(files):
    ballast = np.ones(60_000_000)  # 480 MB resident here
    with Probe() as probe:
        opening = probe.open(Job("onnxruntime", files["fp32"]), start_s=probe.up())
    assert opening.peak_rss < ballast.nbytes / 2


def test_a_burst_ends_by_time_once_there_are_enough(files):
    with Probe() as probe:
        probe.open(Job("onnxruntime", files["fp32"]), start_s=probe.up())
        assert len(probe.burst(count=10**9, least=7, seconds=0.0).latencies) == 7
        burst = probe.burst(count=10**9, seconds=0.3)
    assert burst.ends[-1] >= 0.3
    assert burst.wall_s < 30


def test_a_memory_limit_bites(files):
    job = Job("onnxruntime", files["fp32"])
    with pytest.raises(ProbeDied), Probe() as probe:
        probe.open(replace(job, memory=16_000_000), start_s=probe.up())
    with Probe() as probe:
        probe.open(replace(job, memory=1_000_000_000), start_s=probe.up())
        assert len(probe.burst(count=3).latencies) == 3


def test_a_truncated_file_is_bad_input_that_names_it(files, tmp_path):
    path = tmp_path / "torn.onnx"
    path.write_bytes(files["fp32"].read_bytes()[:-100])
    job = Job("onnxruntime", path)
    with pytest.raises(ProbeDied) as caught, Probe() as probe:
        probe.open(job, start_s=probe.up())
    error = caught.value.error(job)
    assert isinstance(error, InputError)
    assert "torn.onnx" in error.where
    assert "cannot read the model" in error.what


def foreign(path, kind=TensorProto.FLOAT, shape=("n", 3, 8, 8), inputs=1):
    value = helper.make_tensor_value_info
    names = [f"in{i}" for i in range(inputs)]
    nodes = [helper.make_node("Identity" if inputs == 1 else "Add", names, ["out"])]
    graph = helper.make_graph(nodes, "g", [value(name, kind, shape) for name in names], [value("out", kind, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "form", [{"kind": TensorProto.INT64}, {"shape": ("n", 3, "h", "w")}, {"inputs": 2}, {"shape": (4, 3, 8, 8)}]
)
def test_a_model_of_another_form_is_unsuitable(tmp_path, form):
    job = Job("onnxruntime", foreign(tmp_path / "foreign.onnx", **form))
    with pytest.raises(ProbeDied) as caught, Probe() as probe:
        probe.open(job, start_s=probe.up())
    assert caught.value.kind == "unsuitable"
    assert isinstance(caught.value.error(job), InputError)


def test_a_model_of_fixed_batch_is_unsuitable_for_another(tmp_path):
    with Probe() as probe:
        probe.open(Job("onnxruntime", foreign(tmp_path / "one.onnx", shape=(1, 3, 8, 8))), start_s=probe.up())
        with pytest.raises(ProbeDied, match="batches of 1 only"):
            probe.burst(batch=2, count=1)


def test_a_runtime_that_is_missing_says_how_to_get_it(files):
    if importlib.util.find_spec("executorch"):
        pytest.skip("executorch is installed here")
    job = Job("executorch", files["fp32"])
    with pytest.raises(ProbeDied) as caught, Probe() as probe:
        probe.open(job, start_s=probe.up())
    error = caught.value.error(job)
    assert isinstance(error, MissingDependencyError)
    assert "skerry[export]" in error.mend


def test_a_measured_process_that_is_killed_is_no_measurement(files):
    job = Job("onnxruntime", files["fp32"])
    with Probe() as probe:
        probe.open(job, start_s=probe.up())
        os.kill(probe.pid, signal.SIGKILL)
        with pytest.raises(ProbeDied) as caught:
            probe.burst(count=1)
    assert isinstance(caught.value.error(job), RunFailedError)
    assert "SIGKILL" in caught.value.message


def test_ctrl_c_ends_the_measured_process(files):
    def stopped() -> None:
        with probe:
            probe.open(Job("onnxruntime", files["fp32"]), start_s=probe.up())
            raise KeyboardInterrupt

    probe = Probe()
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not psutil.pid_exists(probe.pid)


def test_a_measured_process_ends_when_the_one_who_measures_is_killed(files):
    program = f"""
from pathlib import Path
from skerry.device.bench.probing import *
with Probe() as probe:
    probe.open(Job("onnxruntime", Path({str(files["fp32"])!r})), start_s=probe.up())
    print(probe.pid, flush=True)
    probe.burst(count=10**9, seconds=600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    measured = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([measured], timeout=180)
    assert not alive


def test_the_runner_of_onnx_reads_its_input_as_documented(files):
    """Guards the probe against measuring something else: same numbers as onnxruntime itself gives."""
    from skerry.device.bench.runners import open_model

    opened = open_model("onnxruntime", files["fp32"], 1, 7)
    (scores,) = opened.call(2)()
    x = np.random.default_rng(7).standard_normal((2, 3, 16, 16), np.float32)
    expected = open_model("skerry", files["fp32"], 1, 7).call(2)()
    assert onnx.load(str(files["fp32"])).graph.input[0].name == "image"
    assert scores.shape == (2, 5)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert x.shape == (2, 3, 16, 16)
