"""Audits: bounds that hold as often as they say, as strong as published ones, and open about what they cannot see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from skerry.errors import InputError
from skerry.security.privacy.audit import (
    CanaryScores,
    attack_strength,
    audit_scores,
    ceiling,
    clopper_pearson_epsilon,
    gaussian_one_run_epsilon,
    gaussian_scores,
    one_run_epsilon,
    one_run_p_value,
)
from skerry.security.privacy.audit.bounds import gaussian_mu

DELTA = 1e-5

# canaries, guesses, right, p at ε = 0.5 and at ε = 2, ε (any mechanism), ε (Gaussian): computed with jax-privacy 2.0.
PUBLISHED = [
    (1000, 100, 95, 0.0004718862, 0.0178246346, 2.16518, 3.3233),
    (1000, 300, 200, 0.0641174893, 1.0, 0.48504, 0.79567),
    (100, 40, 40, 0.0000971441, 0.0065046276, 2.55113, 5.15089),
    (10000, 50, 49, 0.008273361, 0.0384597389, 2.10659, 2.62451),
    (100, 50, 20, 0.9995627887, 1.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("canaries", "guesses", "right", "p_half", "p_two", "any_", "gaussian"), PUBLISHED)
def test_the_bounds_are_those_of_another_implementation(canaries, guesses, right, p_half, p_two, any_, gaussian):
    assert one_run_p_value(canaries, guesses, right, 0.5, DELTA) == pytest.approx(p_half, rel=1e-6)
    assert one_run_p_value(canaries, guesses, right, 2.0, DELTA) == pytest.approx(p_two, rel=1e-6)
    assert one_run_epsilon(canaries, guesses, right, DELTA) == pytest.approx(any_, abs=1e-4)
    assert gaussian_one_run_epsilon(canaries, guesses, right, DELTA) == pytest.approx(gaussian, abs=1e-3)


def test_mu_is_that_of_another_accountant():
    assert gaussian_mu(2.0, DELTA) == pytest.approx(0.5015516891696565, rel=1e-6)
    assert gaussian_mu(8.0, DELTA) == pytest.approx(1.6660305978457177, rel=1e-6)


@given(guesses=st.integers(1, 60), data=st.data(), epsilon=st.floats(0, 6))
def test_without_delta_the_p_value_is_that_of_randomised_response(guesses: int, data: st.DataObject, epsilon: float):
    right = data.draw(st.integers(0, guesses))
    exact = sum(binom.pmf(k, guesses, np.exp(epsilon) / (1 + np.exp(epsilon))) for k in range(right, guesses + 1))
    assert one_run_p_value(guesses, guesses, right, epsilon, 0.0) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@given(guesses=st.integers(1, 200), data=st.data())
def test_more_right_guesses_never_prove_less(guesses: int, data: st.DataObject):
    right = data.draw(st.integers(0, guesses - 1))
    for bound in (one_run_epsilon, gaussian_one_run_epsilon):
        assert bound(300, guesses, right, DELTA) <= bound(300, guesses, right + 1, DELTA) + 1e-5


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_a_true_claim_is_refuted_no_more_often_than_the_confidence_allows(epsilon: float):
    audits = [
        audit_scores(gaussian_scores(epsilon, DELTA, 200, np.random.default_rng(i)), delta=DELTA, seed=i)
        for i in range(60)
    ]
    for name in ("one_run", "one_run_gaussian", "clopper_pearson"):
        refuted = sum(getattr(audit, name) > epsilon for audit in audits)
        assert refuted <= binom.ppf(0.999, len(audits), 0.05)


def test_a_leak_is_found_and_what_is_no_leak_is_not():
    generator = np.random.default_rng(1)
    silent = audit_scores(CanaryScores(generator.normal(size=500), generator.normal(size=500)), delta=DELTA, seed=0)
    assert silent.one_run < 0.3
    assert abs(silent.attack.auc - 0.5) < 0.05
    leaking = audit_scores(CanaryScores(1 + generator.random(500), generator.random(500)), delta=DELTA, seed=0)
    assert leaking.one_run > 3
    assert leaking.clopper_pearson > 3
    assert leaking.attack.tpr[0.01][0] == 1.0


def test_strangers_that_are_surely_known_are_a_leak_too():
    inside = np.full(400, 1.0)
    outside = np.where(np.arange(400) % 2, 1.0, 0.0)  # half of those that were out give themselves away
    audit = audit_scores(CanaryScores(inside, outside), delta=DELTA, seed=0)
    assert audit.clopper_pearson > 3


# ε, canaries → one-run (any mechanism), one-run (Gaussian): ceilings measured with jax-privacy's auditor.
@pytest.mark.parametrize(
    ("epsilon", "canaries", "any_", "gaussian"),
    [(2, 10_000, 0.80, 1.04), (4, 1_000, 0.90, 1.18), (8, 1_000, 2.18, 3.01), (8, 10_000, 3.10, 4.67)],
)
def test_the_estimator_reaches_nine_tenths_of_the_best_that_is_known(epsilon, canaries, any_, gaussian):
    found = ceiling(epsilon, DELTA, canaries)
    assert found.one_run >= 0.9 * any_
    assert found.one_run_gaussian >= 0.9 * gaussian
    assert max(found.one_run, found.one_run_gaussian) <= epsilon


def test_few_canaries_have_no_power():
    assert ceiling(1.0, DELTA, 40).one_run < 0.5


def test_the_area_under_the_curve_counts_ties_half():
    assert attack_strength([1.0, 2.0], [1.0, 0.0]).auc == 0.875
    assert attack_strength([1.0] * 5, [1.0] * 5).auc == 0.5


def test_rates_at_low_false_alarms():
    others = np.arange(1000, dtype=float)
    found = attack_strength([999.5, 998.5, 990.5, 0.0], others)
    assert found.tpr[0.001][0] == 0.5
    assert found.tpr[0.01][0] == 0.75
    value, low, high = found.tpr[0.01]
    assert 0 < low < value < high < 1
    assert attack_strength([1.0], [0.0, 1.0]).tpr[0.001][0] == 0.0


def test_rates_do_not_pass_over_ties():
    assert attack_strength([1.0, 1.0], [1.0] * 10 + [0.0] * 90).tpr[0.01][0] == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: one_run_epsilon(10, 5, 6, DELTA),
        lambda: one_run_epsilon(10, 11, 6, DELTA),
        lambda: one_run_epsilon(10, 5, 5, 1.0),
        lambda: one_run_epsilon(10, 5, 5, DELTA, confidence=1.0),
        lambda: gaussian_one_run_epsilon(10, 5, 5, 0.0),
        lambda: clopper_pearson_epsilon(3, 2, 0, 2, DELTA),
        lambda: clopper_pearson_epsilon(0, 0, 0, 2, DELTA),
        lambda: CanaryScores(np.array([1.0]), np.array([])),
        lambda: CanaryScores(np.array([np.nan]), np.array([1.0])),
        lambda: attack_strength([], [1.0]),
        lambda: attack_strength([np.nan], [1.0]),
    ],
)
def test_what_is_no_outcome_is_refused(call):
    with pytest.raises(InputError):
        call()
