"""Costs of a mode are measured in a process of its own, once for a machine, on the network that was asked for."""

import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device import step_cost
from skerry.device.local_model import build_local_model, load_local_model
from skerry.device.step_cost import MODES, NoiseTask, measure_modes
from skerry.device.training.modes import prepare_mode
from skerry.errors import InputError, RunFailedError, ScenarioError

MODEL = ModelConfig(architecture="ds_cnn", width=0.125)
TASK = TaskConfig(name="skerry.device.step_cost:NoiseTask")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path_factory.getbasetemp() / "costs-home"))


def test_what_is_measured_is_what_a_device_would_train(monkeypatch):
    said: list[str] = []
    head, bias = measure_modes(MODEL, TASK, ("head", "bias"), batch=4, progress=said.append)
    model = MODEL.model_copy(update={"trainable": "bias"})
    task = NoiseTask(TASK, model)
    assert bias.trained == load_local_model(model, build_local_model(model, task), task).layout.size
    assert head.trained < bias.trained
    for cost in (head, bias):
        assert cost.batch == 4
        assert cost.step_ms > 0
        assert 0 < cost.added_mb < 500
        assert cost.machine
    assert head.features_ms > 0
    assert bias.features_ms == 0
    assert any(line.startswith("bias: measuring") for line in said)

    monkeypatch.setattr(step_cost, "_ask", lambda job: pytest.fail("measured again"))
    assert measure_modes(MODEL, TASK, ("head", "bias"), batch=4) == [head, bias]
    with pytest.raises(pytest.fail.Exception):
        measure_modes(MODEL, TASK, ("head",), batch=5)
    with pytest.raises(pytest.fail.Exception):
        measure_modes(MODEL, TASK, ("head",), batch=4, again=True)


def test_a_process_that_fails_says_which_mode_and_why():
    job = {
        "task": TASK.model_dump(mode="json"),
        "model": MODEL.model_dump(mode="json"),
        "digest": "0" * 64,
        "batch": 4,
        "engine": "skerry",
    }
    with pytest.raises(RunFailedError, match="not on this machine") as caught:
        step_cost._ask(job)
    assert '"head"' in caught.value.where


def test_every_mode_of_a_scenario_can_be_asked_for():
    assert {"head", "tail", "bias", "lora", "full"} <= set(MODES)


def test_modes_over_int8_weights_are_refused_of_a_float_base(monkeypatch):
    monkeypatch.setattr(step_cost, "build_local_model", lambda *_: pytest.fail("built"))
    for mode in ("lora", "qat"):
        with pytest.raises(ScenarioError, match=f'"{mode}" trains over int8') as caught:
            measure_modes(MODEL.model_copy(update={"bits": 32}), TASK, ("head", mode), batch=4)
        assert (caught.value.where, "model.bits = 8" in caught.value.mend) == ("model.bits", True)


@pytest.mark.parametrize("mode", ["lora", "qat"])
def test_a_mode_over_int8_weights_is_not_made_of_a_float_base(tiny_graph, mode):
    with pytest.raises(InputError, match=f"{mode} trains over int8 weights"):
        prepare_mode(mode, tiny_graph, None, rank=4)
