"""Figures of quality, calibration and separation are those of other implementations, on random scores with ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.device.evaluation.ood import auroc, energy, fpr_at_tpr, msp
from skerry.device.evaluation.reliability import reliability
from skerry.device.evaluation.spread import spread_of
from skerry.device.evaluation.temperature import cross_fit, fit_temperature
from skerry.device.tasks.metrics import evaluate


def scores(seed: int, n: int = 400, classes: int = 5, sure: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose own probabilities are right where ``sure`` is 1: labels are drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2, size=(n, classes))
    powers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = (powers.cumsum(1) > generator.random((n, 1))).argmax(1)
    return (logits * sure).astype(np.float32), y


# --- against scikit-learn and scipy


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_cross_entropy_are_scikit_learns(seed):
    from scipy.special import softmax
    from sklearn.metrics import accuracy_score, log_loss

    logits, y = scores(seed, sure=1.7)
    quality = evaluate(logits, y)
    assert quality.accuracy == pytest.approx(accuracy_score(y, logits.argmax(1)), abs=1e-12)
    assert quality.loss == pytest.approx(log_loss(y, softmax(logits.astype(float), 1), labels=range(5)), rel=1e-9)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.lists(st.integers(0, 8), min_size=1, max_size=40))
def test_auroc_and_fpr_are_scikit_learns_with_ties(inside, outside):
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    inside, outside = np.array(inside, float), np.array(outside, float)
    both = np.r_[inside, outside]
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, both), abs=1e-12)
    fpr, tpr, _ = roc_curve(truth, both, drop_intermediate=False)
    assert fpr_at_tpr(inside, outside) == pytest.approx(fpr[tpr >= 0.95 - 1e-9].min(), abs=1e-12)


def test_separation_at_its_ends():
    high, low = np.arange(10.0, 20.0), np.arange(0.0, 10.0)
    assert (auroc(high, low), auroc(low, high), auroc(low, low)) == (1, 0, 0.5)
    assert (fpr_at_tpr(high, low), fpr_at_tpr(low, high)) == (0, 1)


def test_msp_and_energy_are_those_of_scipy():
    from scipy.special import logsumexp, softmax

    logits, _ = scores(3)
    assert np.allclose(msp(logits), softmax(logits.astype(float), 1).max(1))
    assert np.allclose(energy(logits), logsumexp(logits.astype(float), 1))
    large = logits * 1000
    assert np.isfinite(energy(large)).all()
    assert np.isfinite(msp(large)).all()


def test_the_reliability_diagram_adds_up_to_the_calibration_error():
    logits, y = scores(1, sure=3)
    bins = reliability(logits, y)
    assert len(bins) == 15
    assert sum(one.count for one in bins) == len(y)
    gap = sum(one.count * abs(one.confidence - one.accuracy) for one in bins if one.count) / len(y)
    assert gap == pytest.approx(evaluate(logits, y).ece, abs=1e-12)
    assert all(one.low <= one.confidence <= one.high for one in bins if one.count)
    certain = reliability(np.array([[100.0, 0.0]], np.float32), np.array([0]))
    assert certain[-1].count == 1  # a confidence of one belongs to the last bin


def test_percentiles_over_devices():
    assert spread_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0]).__dict__ == pytest.approx(
        {"p10": 0.1, "p50": 0.5, "p90": 0.9}
    )


# --- temperature scaling


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_the_temperature_undoes_scores_that_are_too_large_or_too_small(factor):
    logits, y = scores(2, n=20_000, sure=factor)
    assert fit_temperature(logits, y) == pytest.approx(factor, rel=0.05)


def test_the_temperature_has_the_least_cross_entropy():
    from scipy.optimize import minimize_scalar

    logits, y = scores(4, n=300, sure=2.5)
    best = minimize_scalar(
        lambda log: evaluate(logits / np.float32(np.exp(log)), y).loss, bounds=(-3, 3), method="bounded"
    )
    assert fit_temperature(logits, y) == pytest.approx(np.exp(best.x), rel=1e-3)


def test_where_every_example_is_right_the_temperature_stays_in_range():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert fit_temperature(logits, np.array([0, 1, 2, 0])) == pytest.approx(0.01)
    assert fit_temperature(logits, np.array([1, 2, 0, 1])) == pytest.approx(100)


def test_cross_fitting_changes_no_prediction_and_lowers_the_calibration_error():
    logits, y = scores(5, n=3000, sure=3)
    fitted = cross_fit(logits, y, [1000, 500, 1500])
    assert np.array_equal(fitted.logits.argmax(1), logits.argmax(1))
    assert evaluate(fitted.logits, y).ece < evaluate(logits, y).ece / 3
    assert fitted.temperature == pytest.approx(3, rel=0.1)


def test_a_holders_temperature_does_not_depend_on_its_own_labels():
    logits, y = scores(6, n=300, sure=3)
    before = cross_fit(logits, y, [100, 100, 100]).logits
    changed = y.copy()
    changed[:100] = (y[:100] + 1) % 5
    after = cross_fit(logits, changed, [100, 100, 100]).logits
    assert np.array_equal(before[:100], after[:100])
    assert not np.array_equal(before[100:], after[100:])


def test_a_single_holder_is_cut_in_parts():
    logits, y = scores(7, n=50, sure=3)
    before = cross_fit(logits, y, [50]).logits
    ratios = (logits / before).mean(1).round(4)
    assert len(np.unique(ratios)) == 5
    one, label = logits[:1], y[:1]
    assert np.isfinite(cross_fit(one, label, [1]).logits).all()
