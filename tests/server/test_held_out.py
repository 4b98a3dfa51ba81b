"""What a vector scores on devices that never train is computed once, and is always what the model says of it now."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.full_model import FullModel
from skerry.device.local_model import LocalModel, build_local_model, load_local_model
from skerry.device.network_model import NetworkModel
from skerry.device.personal import Form, PersonalModel
from skerry.device.tasks.task import Task
from skerry.device.training.full import FullTrainer
from skerry.device.training.head import HeadTrainer
from skerry.device.training.network import NetworkTrainer
from skerry.records import Float32Array
from skerry.server.held_out import HeldOut
from skerry.server.launch import launch

CNN = ("model.architecture=cnn", "model.bits=32", "model.input_size=28")
FORMS: tuple[Form, ...] = get_args(Form)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "device"))
    yield
    sys.modules.pop("tiny_tasks", None)


def made(mode: str, task: str, store: Path, **changes: Any) -> tuple[Task, LocalModel]:
    import tiny_tasks

    config, data = tiny_tasks.config(mode, **changes), getattr(tiny_tasks, task)(TaskConfig(), ModelConfig())
    return data, load_local_model(config, build_local_model(config, data, store=store), data, store)


def named(array: Any) -> str:
    return sha256_hex(np.ascontiguousarray(array[:]).tobytes())


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str, str]]:
    """How often a trainer or a deployed network has scored something: by method, digest of the vector, and of that."""
    found: Counter[tuple[str, str, str]] = Counter()

    def count(owner: type, method: str) -> None:
        plain: Callable[..., Float32Array] = getattr(owner, method)

        def counted(self: Any, vector: Float32Array, examples: Any, *more: Any) -> Float32Array:
            found[f"{owner.__name__}.{method}", named(vector), named(examples)] += 1
            return plain(self, vector, examples, *more)

        monkeypatch.setattr(owner, method, counted)

    for trainer in (FullTrainer, HeadTrainer, NetworkTrainer):
        count(trainer, "logits")
    count(NetworkModel, "deployed_logits")
    count(NetworkModel, "float_logits")
    return found


@pytest.mark.parametrize(
    ("mode", "task", "overrides", "forms"),
    [
        pytest.param("full", "SevenPrototypes", (*CNN, "defence.root_set=off"), {"FullTrainer.logits": 3}, id="cnn"),
        pytest.param(
            "bias",
            "TinyWindows",
            (),
            {"NetworkTrainer.logits": 3, "NetworkModel.deployed_logits": 2, "NetworkModel.float_logits": 2},
            id="network",
        ),
        pytest.param("head", "TinyWindows", (), {"HeadTrainer.logits": 5}, id="head"),
    ],
)
def test_a_run_scores_no_example_twice_in_one_way(
    tmp_path: Path,
    passes: Counter[tuple[str, str, str]],
    mode: str,
    task: str,
    overrides: tuple[str, ...],
    forms: dict[str, int],
) -> None:
    """The base and the vectors of two rounds as in training, the first and the last of them as deployed as well."""
    import tiny_tasks

    asked = tiny_tasks.scenario(mode, task, "none", *overrides)
    passes.clear()
    launch(asked, engine="inprocess", parent=tmp_path)
    assert set(passes.values()) == {1}
    data = getattr(tiny_tasks, task)(asked.task, asked.model)
    held_out, own = len(data.evaluation()), 2 * len(data.devices())  # the base and the last vector on devices' own data
    assert Counter(method for method, _, _ in passes) == {
        method: held_out * count + (own if "Trainer" in method else 0) for method, count in forms.items()
    }


@pytest.fixture
def small(tmp_path: Path) -> tuple[HeldOut, FullModel]:
    data, model = made("full", "SevenPrototypes", tmp_path, architecture="cnn", bits=32, input_size=28)
    assert isinstance(model, FullModel)
    return HeldOut(data, model), model


def test_what_was_changed_in_its_place_is_another_vector(small: tuple[HeldOut, FullModel]) -> None:
    held_out, model = small
    vector = model.initial()
    before = held_out.scores(vector, "training")
    vector *= 2
    after = held_out.scores(vector, "training")
    for device, (scores, labels) in after.items():
        assert not np.array_equal(scores, before[device][0])
        np.testing.assert_array_equal(labels, before[device][1])
    fresh = HeldOut(held_out._task, model).scores(vector, "training")
    for device, (scores, _) in fresh.items():
        np.testing.assert_array_equal(scores, after[device][0])


def test_the_first_and_the_newest_are_kept_and_nobody_writes_to_them(
    small: tuple[HeldOut, FullModel], passes: Counter[tuple[str, str, str]]
) -> None:
    held_out, model = small
    first = model.initial()
    for factor in (1, 2, 3, 3, 1, 3):
        held_out.scores(first * np.float32(factor), "deployed")
    assert passes.total() == 3 * len(held_out.devices)
    assert len(held_out._kept) == 2
    held_out.scores(first * np.float32(2), "training")  # was forgotten
    assert passes.total() == 4 * len(held_out.devices)
    scores, _ = held_out.scores(first, "training")["other"]
    with pytest.raises(ValueError, match="read-only"):
        scores[:] = 0


def said(model: LocalModel, vector: Float32Array, x: np.ndarray, form: Form) -> Float32Array:
    if form == "float":
        return model.float_logits(vector, x)
    inputs = model.prepare(x)
    return model.logits(vector, inputs) if form == "training" else model.deployed_logits(vector, x, inputs)


@pytest.mark.parametrize("mode", ["head", "bias", "qat", "cnn"])
def test_each_form_is_what_the_model_says_in_that_form(tmp_path: Path, mode: str) -> None:
    if mode == "cnn":
        data, model = made("full", "SevenPrototypes", tmp_path, architecture="cnn", bits=32, input_size=28)
    else:
        data, model = made(mode, "TinyWindows", tmp_path)
    held_out = HeldOut(data, model)
    vector = model.initial() * np.float32(1.01)
    for form in (*FORMS, *FORMS):
        for device, (scores, labels) in held_out.scores(vector, form).items():
            examples = data.evaluation()[device]
            np.testing.assert_array_equal(scores, said(model, vector, examples.x, form))
            np.testing.assert_array_equal(labels, examples.y)


def test_a_newcomer_is_scored_on_what_it_did_not_fit_its_head_on(tmp_path: Path) -> None:
    data, model = made("bias", "TinyWindows", tmp_path, personal_head=True)
    assert isinstance(model, PersonalModel)
    held_out = HeldOut(data, model)
    for form in FORMS:
        scores, labels = held_out.scores(model.initial(), form)["other"]
        examples = data.evaluation()["other"]
        np.testing.assert_array_equal(labels, examples.y[1::2])
        found, _ = model.newcomer(model.initial(), examples.x, model.prepare(examples.x), examples.y, form)
        np.testing.assert_array_equal(scores, found)
