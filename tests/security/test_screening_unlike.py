"""Honest devices unlike the others keep their place: alone with a class, with more data, with another's rare classes.

Trained for real: softmax heads on random features of scikit-learn's digits, without privacy noise.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skerry.config import DefenceConfig
from skerry.security.anomaly import ScreenContext, Screener

K, F = 10, 1024


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return np.maximum(data.data / 16 @ np.random.default_rng(5).standard_normal((64, F)) / 8, 0), data.target


def drawn(classes: Sequence[Sequence[int]], sizes: Sequence[int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The devices' examples, none of them with two devices."""
    features, labels = digits()
    rng = np.random.default_rng(seed)
    pools = {k: iter(rng.permutation(np.flatnonzero(labels == k))) for k in range(K)}
    chosen = [
        np.array([next(pools[k]) for k in np.resize(own, size)]) for own, size in zip(classes, sizes, strict=True)
    ]
    return [(features[i], labels[i]) for i in chosen]


def trained(
    model: np.ndarray, data: tuple[np.ndarray, np.ndarray], rng: np.random.Generator, *, rate: float, epochs: int
) -> np.ndarray:
    """What local training in batches of 16 changes the head by."""
    features, labels = data
    head = model.copy()
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        for begin in range(0, len(order), 16):
            batch = order[begin : begin + 16]
            x = np.hstack([features[batch], np.ones((len(batch), 1))])
            scores = np.exp(x @ head.T - (x @ head.T).max(axis=1, keepdims=True))
            error = scores / scores.sum(axis=1, keepdims=True) - np.eye(K)[labels[batch]]
            head -= rate / len(batch) * error.T @ x
    return head - model


def quarantined(
    data: list[tuple[np.ndarray, np.ndarray]], rounds: int, *, rate: float = 0.1, epochs: int = 5, whole: bool = False
) -> frozenset[str]:
    """Who loses its place when the accepted updates' mean moves the model."""
    screener, rng, model = Screener(DefenceConfig().screen, tolerate=2), np.random.default_rng(0), np.zeros((K, F + 1))
    names = [f"device-{i:02d}" for i in range(len(data))]
    for number in range(1, rounds + 1):
        rows = np.stack([trained(model, own, rng, rate=rate, epochs=epochs).ravel() for own in data])
        start = model.ravel().astype(np.float32)
        context = ScreenContext(number, 0.0, float("inf"), start=start, whole=whole)
        verdicts = screener.screen(rows.astype(np.float32), names, context)
        model = model + rows[[v.kept for v in verdicts]].mean(axis=0).reshape(model.shape)
    return screener.quarantined


@pytest.mark.parametrize("devices", [12, 6])
def test_who_is_alone_with_a_class_keeps_its_place(devices: int) -> None:
    """Of what it sends three parts in a hundred and less lie in the others' span; later it points against them."""
    data = drawn([range(9)] * (devices - 1) + [[9]], [60] * devices, 0)
    assert quarantined(data, rounds=12) == frozenset()


def test_two_who_share_classes_that_nobody_else_has_keep_their_places() -> None:
    data = drawn([range(5)] * 10 + [range(5, 10)] * 2, [60] * 12, 0)
    assert quarantined(data, rounds=8) == frozenset()


def test_two_who_share_the_same_one_class_keep_their_places() -> None:
    data = drawn([[k] for k in (*range(10), 7)], [60] * 11, 0)
    assert quarantined(data, rounds=6) == frozenset()


@pytest.mark.parametrize("whole", [False, True])
def test_who_has_six_times_the_data_is_no_free_rider(*, whole: bool) -> None:
    """The last step is mostly its own update; what is new about the next one is training, not noise."""
    data = drawn([range(K)] * 12, [100] * 11 + [600], 0)
    assert quarantined(data, rounds=12, rate=0.01, epochs=1, whole=whole) == frozenset()
