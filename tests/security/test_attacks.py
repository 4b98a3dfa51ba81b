"""Simulated attacks do what they say, repeatably, and never touch the honest delta."""

from collections import Counter

import numpy as np
import pytest

from skerry.config import AttackConfig
from skerry.errors import ScenarioError
from skerry.security.attacks import (
    POISONS,
    Clones,
    GaussianNoise,
    Infinite,
    NotANumber,
    RandomDirection,
    Scaling,
    SignFlip,
    attack_for,
    compromised,
)
from skerry.security.privacy.stream import seeded_stream

HONEST = np.random.default_rng(0).normal(0, 3, 2571).astype(np.float32)
DEVICES = [f"writer-{i:02d}" for i in range(11)]


def test_a_scenario_names_its_attack() -> None:
    assert attack_for(AttackConfig(kind="none")) is None
    assert all(attack_for(AttackConfig(kind=kind)) is None for kind in POISONS)
    assert attack_for(AttackConfig(kind="sign_flip", scale=4.0)) == SignFlip(4.0)
    assert attack_for(AttackConfig(kind="nan")) == NotANumber()
    assert attack_for(AttackConfig(kind="random", scale=2.0)) == RandomDirection(2.0)
    assert attack_for(AttackConfig(kind="scaling", scale=9.0)) == Scaling(9.0)
    assert attack_for(AttackConfig(kind="inf")) == Infinite()
    assert attack_for(AttackConfig(kind="gaussian", scale=2.0)) == GaussianNoise(2.0)
    assert attack_for(AttackConfig(kind="clones", scale=2.0)) == Clones(2.0)


@pytest.mark.parametrize("kind", ["sign_flip", "scaling", "nan", "inf", "random", "gaussian", "clones"])
def test_attacks_leave_the_honest_delta_alone_and_send_float32_of_its_shape(kind: str) -> None:
    attack = attack_for(AttackConfig(kind=kind, scale=4.0))
    assert attack is not None
    honest = HONEST.copy()
    honest.flags.writeable = False
    sent = attack(honest, seeded_stream(0, "attack"))
    assert sent.dtype == np.float32
    assert sent.shape == honest.shape
    assert not np.shares_memory(sent, honest)
    np.testing.assert_array_equal(honest, HONEST)
    again = attack(honest, seeded_stream(0, "attack"))
    np.testing.assert_array_equal(sent, again)


def test_sign_flip_sends_the_scaled_opposite() -> None:
    np.testing.assert_array_equal(SignFlip(4.0)(HONEST, seeded_stream(0)), -4 * HONEST)


def test_devices_that_act_alone_are_clones_only_because_they_draw_the_same_bits() -> None:
    assert Clones.shared
    assert not RandomDirection.shared
    first, second = Clones(2.0)(HONEST, seeded_stream(5)), Clones(2.0)(-3 * HONEST, seeded_stream(5))
    np.testing.assert_allclose(second, 3 * first, rtol=1e-5)


def test_nan_sends_nothing_but_nan() -> None:
    assert np.isnan(NotANumber()(HONEST, seeded_stream(0))).all()


@pytest.mark.parametrize("size", [1, 2, 2571])
def test_random_sends_a_fresh_direction_of_matched_norm(size: int) -> None:
    stream, honest = seeded_stream(1), HONEST[:size]
    first, second = RandomDirection(2.5)(honest, stream), RandomDirection(2.5)(honest, stream)
    for sent in (first, second):
        assert np.linalg.norm(sent.astype(np.float64)) == pytest.approx(2.5 * np.linalg.norm(honest), rel=1e-5)
    if size > 2:
        assert abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second) < 0.1
        assert abs(np.mean(first)) < 4 * np.std(first) / np.sqrt(size)
        assert np.mean((first / np.std(first)) ** 4) == pytest.approx(3.0, abs=0.5)  # as normal numbers have it


def test_random_of_a_zero_delta_is_zero() -> None:
    assert not RandomDirection(3.0)(np.zeros(5, np.float32), seeded_stream(0)).any()


def test_the_same_seed_compromises_the_same_devices_in_any_order() -> None:
    config = AttackConfig(devices=2)
    chosen = compromised(DEVICES, config, seed=3)
    assert len(chosen) == 2
    assert chosen <= set(DEVICES)
    assert compromised(DEVICES[::-1], config, seed=3) == chosen
    assert compromised(DEVICES, AttackConfig(devices=3), seed=3) > chosen


def test_seeds_compromise_every_device_about_equally_often() -> None:
    counts = Counter(name for seed in range(1100) for name in compromised(DEVICES, AttackConfig(devices=2), seed))
    assert set(counts) == set(DEVICES)
    assert all(140 <= count <= 260 for count in counts.values())  # 200 expected, standard deviation 13


def test_no_attack_compromises_nobody_and_too_many_is_an_error() -> None:
    assert compromised(DEVICES, AttackConfig(kind="none", devices=2), seed=0) == frozenset()
    assert compromised(DEVICES, AttackConfig(devices=0), seed=0) == frozenset()
    assert compromised(DEVICES, AttackConfig(devices=11), seed=0) == set(DEVICES)
    with pytest.raises(ScenarioError, match="12 devices cannot be hostile"):
        compromised(DEVICES, AttackConfig(devices=12), seed=0)
