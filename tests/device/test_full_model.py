"""A small network's scores are remembered for whoever asks for the same again, and for nobody else."""

import numpy as np
import pytest

from skerry.config import ModelConfig
from skerry.device import full_model
from skerry.device.full_model import FullModel
from skerry.records import Float32Array


class Ten:
    """As much of a task as the network asks for."""

    classes = tuple("0123456789")


@pytest.fixture
def model() -> FullModel:
    return FullModel(ModelConfig(architecture="cnn", trainable="full", bits=32, input_size=28), Ten())


@pytest.fixture
def computed(model: FullModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were scored, each time that the network was asked."""
    counts: list[int] = []
    plain = model._trainer.logits

    def logits(vector: Float32Array, inputs: Float32Array) -> Float32Array:
        counts.append(len(inputs))
        return plain(vector, inputs)

    monkeypatch.setattr(model._trainer, "logits", logits)
    return counts


def pictures(count: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).standard_normal((count, 1, 28, 28)).astype(np.float32)


def test_the_same_question_is_computed_once_and_every_answer_is_ones_own(model: FullModel, computed: list[int]) -> None:
    vector, x = model.initial(), pictures(5)
    first = model.logits(vector, x)
    first[:] = 0
    again = model.deployed_logits(vector.copy(), x, x.copy())
    assert again.any()
    again[:] = 0
    assert model.logits(vector, x).any()
    assert computed == [5]


def test_what_was_changed_in_its_place_is_another_question(model: FullModel, computed: list[int]) -> None:
    vector, x = model.initial(), pictures(5)
    before = model.logits(vector, x)
    x += 1
    assert not np.array_equal(model.logits(vector, x), before)
    vector *= 2
    model.logits(vector, x)
    model.logits(vector, x[:3])
    assert computed == [5, 5, 5, 3]
    np.testing.assert_array_equal(model.logits(vector, x), model._trainer.logits(vector, x))


def test_few_are_remembered(model: FullModel, computed: list[int]) -> None:
    vector = model.initial()
    for seed in (*range(full_model._SCORED + 1), 1, 0):
        model.logits(vector, pictures(2, seed))
    assert len(computed) == full_model._SCORED + 2  # the first was forgotten, the second was not
    assert len(model._scored) == full_model._SCORED
