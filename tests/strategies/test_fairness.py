"""q-FedAvg is the paper's step, whatever rule follows; what a liar says counts for no more than an honest word."""

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.strategies.fairness import fair_weights

RNG = np.random.default_rng(4)
DELTAS = RNG.normal(size=(7, 5)).astype(np.float32)
LOSSES = RNG.uniform(0.1, 3.0, 7)
ETA = 0.3


def published(q: float) -> np.ndarray:
    """Algorithm 2 of arXiv:1905.10497, lines 4 to 6, with L = 1/η and w = 0."""
    bound = 1 / ETA
    moves, bends = [], []
    for delta, loss in zip(DELTAS.astype(np.float64), LOSSES, strict=True):
        slope = bound * (0 - delta)
        moves.append(loss**q * slope)
        bends.append(q * loss ** (q - 1) * slope @ slope + bound * loss**q)
    return -np.sum(moves, axis=0) / np.sum(bends)


def step(losses: np.ndarray, q: float, tolerate: int = 0, deltas: np.ndarray = DELTAS) -> np.ndarray:
    weights = fair_weights(deltas, losses, q=q, learning_rate=ETA, tolerate=tolerate)
    return (deltas * weights[:, None]).mean(axis=0)


@pytest.mark.parametrize("q", [0.0, 1.0, 1.5, 5.0])
def test_the_mean_of_weighted_updates_is_the_papers_step(q: float) -> None:
    np.testing.assert_allclose(step(LOSSES, q), published(q), rtol=1e-5)


def step_length(losses: np.ndarray, q: float) -> float:
    return float(np.linalg.norm(step(losses, q)))


def test_without_fairness_all_count_alike() -> None:
    np.testing.assert_allclose(step(LOSSES, 0.0), DELTAS.mean(axis=0), rtol=1e-6)


def test_it_minimises_the_papers_objective() -> None:
    """Two devices with F_k = a_k·(x − b_k)²/2 and q = 1: Σ F_k²/2 is flat where Σ F_k·a_k·(x − b_k) is 0."""
    curves, centres = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    x, rate = np.zeros(1, np.float32), 0.1
    for _ in range(3000):
        losses = curves * (x[0] - centres) ** 2 / 2
        deltas = (-rate * curves * (x[0] - centres)).astype(np.float32)[:, None]
        weights = fair_weights(deltas, losses, q=1, learning_rate=rate, tolerate=0)
        x = x + (deltas * weights[:, None]).mean(axis=0)
    slope = curves**2 * (x[0] - centres) ** 3
    assert abs(slope.sum()) < 1e-3
    mean_best = (curves * centres).sum() / curves.sum()
    assert abs(x[0] - mean_best) > 0.1  # the better-off device gives way


@pytest.mark.parametrize("claim", [0.0, 1e-300, 1e30])
def test_what_two_liars_say_moves_nobody_beyond_honest_losses(claim: float) -> None:
    honest = np.concatenate([LOSSES[:2], LOSSES[2:]])
    lied = honest.copy()
    lied[:2] = claim
    for q in (1.0, 2.0, 10.0):
        weights = fair_weights(DELTAS, lied, q=q, learning_rate=ETA, tolerate=2)
        others = weights[2:]
        assert others.min() - 1e-6 <= weights[:2].min()
        assert weights[:2].max() <= others.max() + 1e-6
        assert weights.max() <= len(weights)


def test_one_long_update_does_not_stop_the_others() -> None:
    """‖Δw‖² stands in the step's divisor: one device alone could make it as small as it likes."""
    hostile = DELTAS.copy()
    hostile[0] *= 1e6
    honest = fair_weights(DELTAS, LOSSES, q=2, learning_rate=ETA, tolerate=1)
    held = fair_weights(hostile, LOSSES, q=2, learning_rate=ETA, tolerate=1)
    assert (held[1:] > honest[1:] / 3).all()
    open_ = fair_weights(hostile, LOSSES, q=2, learning_rate=ETA, tolerate=0)
    assert (open_[1:] < honest[1:] / 1000).all()


@pytest.mark.parametrize("q", [1.0, 2.0, 10.0])
def test_devices_that_the_model_fits_perfectly_do_not_stop_the_others(q: float) -> None:
    """However many they are: one that is badly off moves the model as far as it does where nobody is well off."""
    losses = np.array([0.0] * 6 + [1.0])
    assert step_length(losses, q) > 0.01 * step_length(np.ones(7), q)


@pytest.mark.parametrize("q", [-1.0, 0.1, 0.999, np.inf, np.nan])
def test_a_power_that_has_no_bound_is_refused(q: float) -> None:
    with pytest.raises(InputError, match="0 or at least 1"):
        fair_weights(DELTAS, LOSSES, q=q, learning_rate=ETA, tolerate=0)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -1.0])
def test_a_loss_that_is_none_is_refused(loss: float) -> None:
    losses = LOSSES.copy()
    losses[3] = loss
    with pytest.raises(InputError):
        fair_weights(DELTAS, losses, q=1, learning_rate=ETA, tolerate=1)
    with pytest.raises(InputError):
        fair_weights(DELTAS, LOSSES[:-1], q=1, learning_rate=ETA, tolerate=1)


def test_losses_of_nothing_and_of_nobody_are_no_error() -> None:
    assert np.isfinite(step(np.zeros(7), 1.0)).all()
    assert fair_weights(DELTAS[:0], LOSSES[:0], q=1, learning_rate=ETA, tolerate=2).shape == (0,)
