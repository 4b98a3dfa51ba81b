"""The server's own updates: each is what a device with public examples of that class alone would send."""

import sys
from pathlib import Path

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.local_model import load_local_model
from skerry.device.training.plan import TrainPlan
from skerry.records import Examples
from skerry.security.privacy.stream import seeded_stream
from skerry.server.root_set import RootSet

PLAN = TrainPlan(epochs=1, learning_rate=0.02, batch_size=0, unit="none")
CONFIG = ModelConfig(architecture="cnn", trainable="full", bits=32, input_size=28)


@pytest.fixture(scope="module")
def task():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "device"))
        import tiny_tasks

        yield tiny_tasks.SevenPrototypes(TaskConfig(), ModelConfig())
    sys.modules.pop("tiny_tasks", None)


@pytest.fixture(scope="module")
def model(task):
    return load_local_model(CONFIG, None, task)


def loss(model, vector, x, label: int) -> float:
    scores = model.logits(vector, model.prepare(x)).astype(np.float64)
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[:, label]))


def test_each_update_goes_down_the_loss_of_its_own_class_by_the_rounds_learning_rate(task, model) -> None:
    start = model.initial()
    updates = RootSet.of(task, model).updates(start, PLAN, seed=0, number=1)
    assert updates.shape == (3, len(start))
    data = task.public_data()
    for label, update in enumerate(updates):
        x = data.x[data.y == label]
        ahead, behind = (loss(model, start + sign * update, x, label) for sign in (1, -1))
        assert ahead < loss(model, start, x, label) < behind
        slope = float(update.astype(np.float64) @ update) / PLAN.learning_rate  # of one step down the gradient
        assert (behind - ahead) / 2 == pytest.approx(slope, rel=0.2)


def test_it_is_what_a_device_with_those_examples_sends(task, model) -> None:
    start = model.initial()
    data = task.public_data()
    one = Examples(data.x[data.y == 1][:8], np.ones(8, np.int64))

    class Small:
        name, classes = task.name, task.classes

        def public_data(self) -> Examples:
            zero = data.x[data.y == 0][:8]
            return Examples(np.concatenate([one.x, zero]), np.append(one.y, np.zeros(8, np.int64)))

    sent = model.train(start, model.prepare(one.x), one.y, PLAN, seeded_stream(5, "a device"))
    np.testing.assert_allclose(RootSet.of(Small(), model).updates(start, PLAN, 0, 1)[1], sent, rtol=1e-4, atol=1e-6)


def test_wrong_labels_are_tried_for_each_pair_of_classes(task, model) -> None:
    """Each goes down the loss of the label that was given, on the examples of the class that was not."""
    start = model.initial()
    root = RootSet.of(task, model)
    assert root.can_mislabel
    updates = root.mislabelled(start, PLAN, seed=0, number=1)
    pairs = [(label, wrong) for label in range(3) for wrong in range(3) if wrong != label]
    assert updates.shape == (len(pairs), len(start))
    data = task.public_data()
    for (label, wrong), update in zip(pairs, updates, strict=True):
        x = data.x[data.y == label]
        assert loss(model, start + update, x, wrong) < loss(model, start, x, wrong)
        assert loss(model, start + update, x, label) > loss(model, start, x, label)


def test_examples_of_a_class_are_taken_from_all_over_the_file() -> None:
    class Sorted:
        name, classes = "sorted", ("a", "b")

        def public_data(self) -> Examples:
            return Examples(np.arange(130, dtype=np.float32), np.repeat([0, 1], [100, 30]))

    class Same:
        def prepare(self, x):
            return x

    whole = RootSet.of(Sorted(), Same())
    taken = whole.inputs
    np.testing.assert_array_equal(whole.few[1], [100, 104, 108, 112, 117, 121, 125, 129])
    assert len(taken[0]) == 32
    assert (taken[0][0], taken[0][-1]) == (0, 99)
    assert set(np.diff(taken[0])) == {3, 4}
    np.testing.assert_array_equal(taken[1], np.arange(100, 130))
