"""Device-level privacy: what one device can do to a release, what the noise is, and what is refused.

Among them the faults that DP wrappers are known to have elsewhere: a client's own weight in the mean, a clip that
follows the wrong share, an update of zeros or of NaN that ends the round.
"""

import math

import numpy as np
import pytest

from skerry.config import default_scenario
from skerry.errors import ScenarioError
from skerry.security.privacy import ORDERS, compose, epsilon_from_rdp, os_stream, rdp, seeded_stream
from skerry.server.central import CentralNoise, run_event
from skerry.server.prepare import noise_for

D = 300
DEVICE = (
    'privacy.unit="device"',
    "privacy.denominator=20",
    "privacy.clip=1.0",
    'defence.aggregator="mean"',
    "defence.tolerate=0",
    'defence.screen=["finite", "shape", "fresh"]',
    "attack.devices=0",
)
POISSON = (*DEVICE, 'cohort.sampling="poisson"', "cohort.rate=0.1")
TURNS = (*DEVICE, 'privacy.mechanism="matrix_factorization"', "privacy.min_separation=4")


def central(*overrides: str, sigma: float = 1.5, size: int = D) -> CentralNoise:
    return CentralNoise(default_scenario(["rounds=12", *overrides]), sigma, size)


def updates(n: int, norm: float = 0.5, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True) * norm).astype(np.float32)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6, 1e38])
def test_one_device_moves_the_mean_by_at_most_its_clip_over_the_public_denominator(scale):
    """No weight that a device reports, and no length of its update, gives it more."""
    rows = updates(30)
    rows[7] = (rows[7].astype(np.float64) * 2 * scale).astype(np.float32)
    alone = central(*POISSON)
    cells, _ = alone._rounding(
        np.asarray(rows[7:8], np.float64)
        * np.minimum(alone.bound, alone._rounding.radius / max(np.linalg.norm(rows[7].astype(np.float64)), 1e-300)),
        seeded_stream(2),
    )
    assert int((cells.astype(object) ** 2).sum()) <= alone.bound**2
    # The same draws for everybody else: the device comes last, and the noise before it.
    order = [i for i in range(30) if i != 7] + [7]
    _, without = (central(*POISSON) for _ in range(2))
    released = [made.release(r, Scripted()).step for made, r in ((alone, rows[order]), (without, rows[order[:-1]]))]
    moved = np.linalg.norm(released[0].astype(np.float64) - released[1])
    assert moved <= 1.0 / 20 * (1 + 1e-6)
    assert moved > (0.99 / 20 if scale >= 1 else -1)


class Scripted:
    """A stream of equal words: no randomness, so that two releases can be compared."""

    is_seeded = True

    def uint64(self, n: int) -> np.ndarray:
        return np.full(n, 1 << 63, np.uint64)


@pytest.mark.parametrize("overrides", [POISSON, TURNS])
def test_updates_of_zeros_and_rounds_of_nobody_are_rounds_like_others(overrides):
    made = central(*overrides)
    for rows in (np.zeros((5, D), np.float32), np.empty((0, D), np.float32), updates(3)):
        step = made.release(rows, os_stream()).step
        assert np.isfinite(step).all()
        assert step.std() > 0


def test_the_noise_is_that_of_the_clip_over_the_denominator():
    made = central(*POISSON, size=50_000)
    step = made.release(np.empty((0, 50_000), np.float32), seeded_stream(3)).step
    assert step.std() == pytest.approx(1.5 * 1.0 / 20, rel=0.02)
    cell = made.clip / made.bound / 20
    assert np.abs(np.rint(step / cell) - step / cell).max() < 0.02  # nothing but multiples of a cell comes out


def test_the_mean_is_right():
    rows = updates(2000, norm=0.8)
    rows[:, 0] += 0.3
    made = CentralNoise(default_scenario([*POISSON, "privacy.denominator=2000"]), 0.5, D)
    clipped = rows / np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True))
    assert made.release(rows, seeded_stream(4)).step == pytest.approx(clipped.mean(axis=0), abs=6 * 0.5 / 2000 + 2e-3)


@pytest.mark.parametrize(("norm", "start", "quantile"), [(10.0, 0.1, 0.5), (0.01, 1.0, 0.5), (3.0, 0.1, 0.9)])
def test_the_clip_follows_the_norms_and_not_away_from_them(norm, start, quantile):
    scenario = default_scenario(
        ["rounds=80", *POISSON, f"privacy.clip={start}", f"privacy.clip_quantile={quantile}", "privacy.denominator=100"]
    )
    made = CentralNoise(scenario, 1.0, D)
    spread = np.geomspace(0.8, 1.25, 100)[:, None].astype(np.float32)
    for number in range(80):
        told = made.release(updates(100, norm, number) * spread, seeded_stream(5, number))
        assert told.unclipped is not None
    exact = np.quantile(norm * spread, quantile)
    assert made.clip == pytest.approx(exact, rel=0.3)


def test_with_a_fixed_clip_nothing_is_counted():
    made = central(*POISSON)
    assert made.release(updates(5), os_stream()).unclipped is None
    assert made.clip == 1.0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_sum_and_count_together_cost_what_one_release_of_the_planned_noise_costs(share):
    made = central(*POISSON, "privacy.clip_quantile=0.5", f"privacy.clip_budget={share}", sigma=1.3)
    together = 1 / made._sum_sigma**2 + 1 / made._count_sigma**2
    assert (1 - 1e-9) / 1.3**2 < together <= 1 / 1.3**2
    assert float(made._noise.scale) == pytest.approx(made._sum_sigma * made.bound)
    votes = [made.release(np.empty((0, D), np.float32), seeded_stream(6, i)).unclipped for i in range(400)]
    assert np.std(votes) == pytest.approx(made._count_sigma / (2 * 20), rel=0.15)


@pytest.mark.parametrize("overrides", [POISSON, TURNS, DEVICE])
def test_the_rounds_debits_add_up_to_the_run_and_stay_within_the_budget(overrides):
    scenario = default_scenario(["rounds=12", *overrides])
    sigma = noise_for(scenario)
    made = CentralNoise(scenario, sigma, D)
    total = compose(made.debit(number) for number in range(1, 13))
    assert np.allclose(total, rdp(run_event(scenario, sigma)), rtol=1e-12)
    spent = epsilon_from_rdp(total, scenario.privacy.delta)[0]
    assert 0.999 * scenario.privacy.epsilon < spent <= scenario.privacy.epsilon
    assert len(total) == len(ORDERS)


def test_correlated_noise_leaves_less_in_the_model_than_independent_noise_at_the_same_epsilon():
    running = {}
    for name, overrides in (("independent", DEVICE), ("correlated", (*TURNS, "privacy.min_separation=10"))):
        scenario = default_scenario(["rounds=60", *overrides])
        made = CentralNoise(scenario, noise_for(scenario), 2000)
        total = np.zeros(2000)
        for number in range(60):
            total += made.release(np.empty((0, 2000), np.float32), seeded_stream(7, name, number)).step
        running[name] = total.std()
    # Everybody in every round costs √60; in turns of ten, √6 at most, and correlation gains on top.
    assert running["correlated"] < 0.25 * running["independent"]


def test_so_much_noise_that_no_sampler_reaches_is_refused_with_a_way_out():
    with pytest.raises(ScenarioError, match="integer samplers") as refused:
        CentralNoise(default_scenario(["rounds=12", *TURNS]), 5e5, 100_000)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (['defence.aggregator="trimmed_mean"'], "robust rule"),
        (["defence.tolerate=1"], "robust rule"),
        (['defence.screen=["finite", "norm"]'], "decide over others"),
        (['cohort.sampling="fixed"', "cohort.size=3"], "fixed size"),
        (["privacy.min_separation=2"], "not independent"),
        (["privacy.sampling_rate=0.5"], "sampling_rate"),
        (['privacy.engine="opacus"', 'model.trainable="tail"'], "clips examples"),
        (["audit.canaries=5"], "single examples"),
        (['privacy.mechanism="matrix_factorization"', 'cohort.sampling="poisson"', "cohort.rate=0.1"], "not on draws"),
        (['privacy.mechanism="matrix_factorization"', 'cohort.sampling="fixed"', "cohort.size=3"], "what others do"),
        (['privacy.mechanism="matrix_factorization"', "privacy.clip_quantile=0.5"], "one clip"),
        (['privacy.unit="example"', 'cohort.sampling="poisson"', "cohort.rate=0.1"], "gives nothing"),
        (['privacy.unit="example"', "privacy.clip_quantile=0.5"], "belong to"),
        (['privacy.unit="none"', 'privacy.mechanism="matrix_factorization"'], "belong to"),
        (['cohort.sampling="poisson"'], "cohort.rate"),
        (["cohort.rate=0.5"], "cohort.rate"),
        (['cohort.sampling="poisson"', "cohort.rate=1.5"], "cohort.rate"),
    ],
)
def test_what_would_break_the_guarantee_is_refused_with_its_reason(changes, said):
    with pytest.raises(ScenarioError, match=said):
        default_scenario([*DEVICE, *changes])


def test_the_denominator_must_be_near_the_number_that_is_expected():
    from skerry.server.prepare import _check_counts

    class Eleven:
        def devices(self):
            return [f"d{i}" for i in range(100)]

    with pytest.raises(ScenarioError, match="10 devices are expected") as refused:
        _check_counts(default_scenario([*POISSON, "privacy.denominator=128"]), Eleven())
    assert "10" in refused.value.mend
    _check_counts(default_scenario([*POISSON, "privacy.denominator=10"]), Eleven())
    assert math.isfinite(noise_for(default_scenario([*POISSON])))
