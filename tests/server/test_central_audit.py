"""Device-level privacy under attack: planted devices, one in each direction, that send far too long updates.

A device of unit length in a direction of its own is the worst that the guarantee speaks of (Andrew et al. 2023,
"One-shot empirical privacy estimation for federated learning", plants such devices at random). The audit must stay
below the claim; and it must exceed it where the mechanism is broken on purpose, or its silence would mean nothing.
"""

from fractions import Fraction

import numpy as np
import pytest

from skerry.config import default_scenario
from skerry.security.privacy import derive_generator, seeded_stream
from skerry.security.privacy.audit import CanaryScores, audit_scores
from skerry.security.privacy.mechanisms import gaussian_noise
from skerry.server.central import CentralNoise
from skerry.server.prepare import noise_for

CANARIES, EPSILON, ROUNDS, APART = 1500, 4.0, 12, 4
DEVICE = (
    'privacy.unit="device"',
    f"privacy.epsilon={EPSILON}",
    "privacy.clip=0.5",
    f"privacy.denominator={CANARIES // 2}",
    'defence.aggregator="mean"',
    "defence.tolerate=0",
    'defence.screen=["finite", "shape", "fresh"]',
    "attack.devices=0",
)


def planted(coins: np.ndarray, length: float = 50.0) -> np.ndarray:
    """The updates of the devices that are in: each in its own direction, a hundred clips long."""
    return np.eye(CANARIES, dtype=np.float32)[coins] * np.float32(length)


def lower_bound(scores: np.ndarray, coins: np.ndarray, seed: int) -> float:
    audit = audit_scores(CanaryScores(scores[coins], scores[~coins]), delta=1e-5, seed=seed)
    return max(audit.one_run_gaussian, audit.clopper_pearson)


def one_round(made: CentralNoise, seed: int, length: float = 50.0) -> float:
    coins = derive_generator(seed, "coins").random(CANARIES) < 0.5
    released = made.release(planted(coins, length), seeded_stream(seed, "noise")).step
    return lower_bound(released.astype(np.float64), coins, seed)


def everybody() -> CentralNoise:
    scenario = default_scenario(["rounds=1", *DEVICE])
    return CentralNoise(scenario, noise_for(scenario), CANARIES)


def test_planted_devices_do_not_refute_the_claim():
    found = [one_round(everybody(), seed) for seed in range(4)]
    assert max(found) <= EPSILON
    assert min(found) > 0.4  # the audit sees something: it has power


def test_too_little_noise_is_found_out():
    made = everybody()
    made._noise = gaussian_noise(Fraction(made._sum_sigma) * made.bound / 6)
    assert one_round(made, 1) > EPSILON


def test_a_clip_that_is_skipped_is_found_out(monkeypatch):
    made = everybody()
    honest = made.release

    def unclipped(deltas, stream):
        noise = honest(np.empty((0, CANARIES), np.float32), stream)
        return type(noise)(noise.step + deltas.sum(axis=0) / (CANARIES // 2), noise.clip, None)

    monkeypatch.setattr(made, "release", unclipped)
    assert one_round(made, 2, length=5.0) > EPSILON


def test_a_device_that_weighs_more_is_found_out(monkeypatch):
    """As when the mean is weighted by a number of examples that a device reports itself."""
    made = everybody()
    coins = derive_generator(3, "coins").random(CANARIES) < 0.5
    rows = np.repeat(planted(coins), 8, axis=0)
    released = made.release(rows, seeded_stream(3, "noise")).step
    assert lower_bound(released.astype(np.float64), coins, 3) > EPSILON


def in_turns(seed: int, rounds: range) -> float:
    """All planted devices take part in these rounds; scored by the best linear statistic of all releases."""
    scenario = default_scenario(
        [f"rounds={ROUNDS}", *DEVICE, 'privacy.mechanism="matrix_factorization"', f"privacy.min_separation={APART}"]
    )
    made = CentralNoise(scenario, noise_for(scenario), CANARIES)
    coins = derive_generator(seed, "coins").random(CANARIES) < 0.5
    stream = seeded_stream(seed, "noise")
    releases = []
    for number in range(ROUNDS):
        rows = planted(coins) if number in rounds else np.empty((0, CANARIES), np.float32)
        releases.append(made.release(rows, stream).step.astype(np.float64))
    strategy = made._correlated.strategy
    matrix = sum(value * np.eye(ROUNDS, k=-offset) for offset, value in enumerate(strategy.coefficients))
    pattern = matrix @ np.isin(np.arange(ROUNDS), rounds)
    return lower_bound(pattern @ (matrix @ np.array(releases)), coins, seed)


def test_planted_devices_that_keep_their_separation_do_not_refute_correlated_noise():
    found = [in_turns(seed, range(0, ROUNDS, APART)) for seed in range(3)]
    assert max(found) <= EPSILON
    assert min(found) > 0.4


def test_devices_that_take_part_in_every_round_are_found_out():
    assert in_turns(5, range(ROUNDS)) > EPSILON


@pytest.mark.parametrize("seed", [7, 8])
def test_without_any_coin_there_is_nothing_to_find(seed):
    """Scores that do not depend on the coins prove nothing: the audit does not cry wolf."""
    coins = derive_generator(seed, "coins").random(CANARIES) < 0.5
    made = everybody()
    released = made.release(np.empty((0, CANARIES), np.float32), seeded_stream(seed, "noise")).step
    assert lower_bound(released.astype(np.float64), coins, seed) < 0.3
