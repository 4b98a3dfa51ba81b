"""Attacks of devices that know the honest rows, the last step or the rule: they send what their papers say."""

import doctest
import importlib
import pkgutil
from dataclasses import replace

import numpy as np
import pytest

import skerry.security.attacks as package
from skerry.errors import InputError
from skerry.security.attacks import (
    ATTACKS,
    Adaptive,
    Blended,
    Camouflaged,
    Clones,
    Disguised,
    FreeRider,
    InnerProduct,
    Knowledge,
    Lengthened,
    LittleIsEnough,
    Mimic,
    MinMax,
    MinSum,
    Neurotoxin,
    Replay,
    attack_named,
    flip_labels,
)
from skerry.security.privacy.stream import seeded_stream
from skerry.strategies import MultiKrum, TrimmedMean

RNG = np.random.default_rng(0)
HONEST = (RNG.normal(0.3, 1, (12, 500)) * RNG.uniform(0.5, 2, (12, 1))).astype(np.float32)
OWN = RNG.normal(0.3, 1, (3, 500)).astype(np.float32)
LAST = RNG.normal(size=500).astype(np.float32)
KNOWN = Knowledge(own=OWN, honest=HONEST, last=LAST, early=OWN[::-1].copy(), rule=TrimmedMean(3))


def sent(attack, known=KNOWN, seed=0):
    return attack.rows(known, seeded_stream(seed, "attack"))


def squared_distances(row):
    return ((HONEST.astype(np.float64) - row) ** 2).sum(axis=1)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_gives_new_rows_changes_nothing_and_repeats(name: str) -> None:
    before = {field: getattr(KNOWN, field).copy() for field in ("own", "honest", "last", "early")}
    first = sent(attack_named(name))
    assert first.dtype == np.float32
    assert first.shape == OWN.shape
    for field, kept in before.items():
        np.testing.assert_array_equal(getattr(KNOWN, field), kept)
        assert not np.shares_memory(first, getattr(KNOWN, field))
    np.testing.assert_array_equal(first, sent(attack_named(name)))


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_stands_hostile_devices_of_any_number_and_rows_without_spread(name: str) -> None:
    for k in (1, 2, 5):
        zero = np.zeros((k, 7), np.float32)
        assert sent(attack_named(name), Knowledge(zero, zero, rule=TrimmedMean(0))).shape == (k, 7)


def test_ipm_and_alie_are_the_formulas_of_their_papers() -> None:
    np.testing.assert_allclose(sent(InnerProduct(2.0)), np.tile(-2 * HONEST.mean(axis=0), (3, 1)), atol=1e-5)
    expected = HONEST.mean(axis=0) - 1.5 * HONEST.std(axis=0)
    np.testing.assert_allclose(sent(LittleIsEnough(1.5)), np.tile(expected, (3, 1)), atol=1e-5)


def test_min_max_is_as_far_as_two_honest_rows_and_no_farther() -> None:
    row = sent(MinMax())[0].astype(np.float64)
    widest = max(squared_distances(one).max() for one in HONEST.astype(np.float64))
    assert squared_distances(row).max() == pytest.approx(widest, rel=1e-5)
    mean = HONEST.mean(axis=0, dtype=np.float64)
    assert squared_distances(mean + 1.01 * (row - mean)).max() > widest


def test_min_sum_reaches_the_largest_honest_sum_and_no_more() -> None:
    row = sent(MinSum())[0].astype(np.float64)
    largest = max(squared_distances(one).sum() for one in HONEST.astype(np.float64))
    assert squared_distances(row).sum() == pytest.approx(largest, rel=1e-5)


def test_mimic_sends_an_honest_row_again() -> None:
    np.testing.assert_array_equal(sent(Mimic(4)), np.tile(HONEST[4], (3, 1)))


def test_clones_are_one_row_and_near_clones_differ_by_their_jitter() -> None:
    exact, near = sent(Clones()), sent(Clones(jitter=0.3))
    assert (exact == exact[0]).all()
    cosine = float(near[0] @ near[1]) / np.linalg.norm(near[0]) / np.linalg.norm(near[1])
    assert cosine == pytest.approx(1 / 1.09, abs=0.05)
    assert np.linalg.norm(exact[0]) == pytest.approx(np.linalg.norm(OWN, axis=1).mean(), rel=1e-4)


def test_lengthened_rows_are_the_attack_s_at_lengths_that_grow() -> None:
    plain, longer = sent(InnerProduct()), sent(Lengthened(InnerProduct(), factor=4.0))
    np.testing.assert_array_equal(longer, plain * np.float32([[1], [4], [16]]))


def test_disguised_rows_lie_apart_and_their_mean_is_near_the_attack() -> None:
    plain, hidden = sent(InnerProduct()), sent(Disguised(InnerProduct(), jitter=0.7))
    length = np.linalg.norm(HONEST, axis=1).mean()
    assert np.linalg.norm(hidden - plain, axis=1) == pytest.approx(np.full(3, 0.7 * length), rel=0.1)
    assert np.linalg.norm(hidden[0] - hidden[1]) == pytest.approx(0.7 * np.sqrt(2) * length, rel=0.1)


def test_camouflaged_rows_differ_as_honest_updates_do_and_keep_the_attack() -> None:
    plain, own = sent(InnerProduct()), sent(Camouflaged(InnerProduct()))
    np.testing.assert_allclose(own - plain, OWN - HONEST.mean(axis=0), atol=1e-5)
    blended = sent(Blended(InnerProduct(), share=0.7))
    length = np.linalg.norm(HONEST, axis=1).mean()
    assert np.linalg.norm(blended - plain, axis=1) == pytest.approx(np.full(3, 0.7 * length), rel=1e-4)
    across = (blended - plain) - (blended - plain) @ np.linalg.pinv(HONEST) @ HONEST
    assert np.linalg.norm(across) < 1e-3 * length


def test_free_riders_echo_the_last_step_and_replayers_their_past() -> None:
    echo = sent(FreeRider(jitter=0.1))
    assert all(np.linalg.norm(row - LAST) == pytest.approx(0.1 * np.linalg.norm(LAST), rel=1e-4) for row in echo)
    assert not (echo[0] == echo[1]).all()
    np.testing.assert_array_equal(sent(Replay()), OWN[::-1])


@pytest.mark.parametrize("rule", [TrimmedMean(3), MultiKrum(3)], ids=["trimmed_mean", "multi_krum"])
@pytest.mark.parametrize("other", [InnerProduct(0.3), InnerProduct(1.5), LittleIsEnough(1.5), LittleIsEnough(0.6)])
def test_who_knows_the_rule_moves_it_at_least_as_far_as_who_does_not(other, rule) -> None:
    mean, known = HONEST.mean(axis=0), replace(KNOWN, rule=rule)

    def moved(attack):
        return np.linalg.norm(rule(np.concatenate([HONEST, sent(attack, known)])) - mean)

    assert moved(Adaptive()) >= moved(other) * 0.999


def test_the_adaptive_attack_without_a_rule_is_an_error() -> None:
    with pytest.raises(InputError, match="not known"):
        sent(Adaptive(), Knowledge(own=OWN, honest=HONEST))


def test_an_unknown_attack_says_the_near_match() -> None:
    with pytest.raises(InputError, match="unknown attack") as caught:
        attack_named("min_mx")
    assert "min_max" in str(caught.value.mend)


def test_neurotoxin_leaves_alone_what_the_last_step_used_most() -> None:
    last = np.zeros(OWN.shape[1], np.float32)
    last[[3, 17]] = [-5, 4]
    known = Knowledge(own=OWN, honest=HONEST, last=last)
    rows = sent(Neurotoxin(share=2 / last.size), known)
    assert (rows[:, [3, 17]] == 0).all()
    rest = np.delete(np.arange(last.size), [3, 17])
    np.testing.assert_array_equal(rows[:, rest], OWN[:, rest])
    np.testing.assert_array_equal(sent(Neurotoxin(), Knowledge(own=OWN, honest=HONEST)), OWN)


def test_flipped_labels_flip_back() -> None:
    labels = np.arange(10)
    assert flip_labels(labels, 10).tolist() == labels[::-1].tolist()


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(package.__path__)])
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"{package.__name__}.{name}")).failed == 0
