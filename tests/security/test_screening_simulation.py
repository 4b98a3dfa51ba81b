"""Recall and false alarms of the screen on data like the default scenario's, over many seeds.

Eleven devices, d = 2570. An honest delta is lr·(signal + noise)/128 with a noise norm of about 157 and a signal norm
that falls from 60 to 10 over twenty rounds, partly common to all devices and partly their own. Hostile devices
send a flipped multiple of what they honestly computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from skerry.records import Action
from skerry.security.anomaly import ScreenContext, Screener

N, D, ROUNDS, LR, DENOMINATOR = 11, 2570, 20, 20.0, 128
NOISE = LR * 157 / DENOMINATOR / np.sqrt(D)
BOUND = LR  # as many examples as the denominator, each gradient clipped to 1
NAMES = [f"writer-{i:02d}" for i in range(N)]


@dataclass
class Outcome:
    caught: int = 0
    first: tuple[int, ...] = ()
    drops: int = 0
    false_drops: int = 0
    false_quarantines: int = 0
    honest_updates: int = 0


def simulate(
    seed: int,
    hostile: int,
    attack: Callable[[np.ndarray], np.ndarray],
    *,
    noise: float = NOISE,
    bound: float = BOUND,
    norms: tuple[float, float] = (60.0, 10.0),
    agreement: tuple[float, float] = (0.4, 0.9),
) -> Outcome:
    rng = np.random.default_rng(seed)
    bad = set(rng.choice(N, hostile, replace=False).tolist())
    screener = Screener(("finite", "shape", "fresh", "norm", "cosine"), tolerate=2)
    outcome, first = Outcome(), {}
    common, own = rng.standard_normal(D), rng.standard_normal((N, D))
    share = rng.uniform(*agreement, (N, 1))
    size = rng.uniform(0.7, 1.0, (N, 1))
    for number in range(1, ROUNDS + 1):
        common = 0.95 * common + 0.31 * rng.standard_normal(D)  # the direction turns while training goes on
        signal = share * common / np.linalg.norm(common)
        signal = signal + np.sqrt(1 - share**2) * own / np.linalg.norm(own, axis=1, keepdims=True)
        strength = norms[0] * (norms[1] / norms[0]) ** ((number - 1) / (ROUNDS - 1))
        deltas = (
            LR / DENOMINATOR * strength * size * signal + rng.normal(0, noise, (N, D))
            if noise
            else (LR / DENOMINATOR * strength * size * signal)
        )
        for index in bad:
            deltas[index] = attack(deltas[index])
        asked = [i for i in range(N) if NAMES[i] not in screener.quarantined]
        verdicts = screener.screen(
            deltas[asked].astype(np.float32), [NAMES[i] for i in asked], ScreenContext(number, noise, bound)
        )
        for index, verdict in zip(asked, verdicts, strict=True):
            dropped = verdict.action is not Action.ACCEPT
            if index in bad and dropped:
                first.setdefault(index, number)
                outcome.drops += 1
            if index not in bad:
                outcome.honest_updates += 1
                outcome.false_drops += dropped
    caught = {NAMES.index(name) for name in screener.quarantined}
    outcome.caught, outcome.false_quarantines = len(caught & bad), len(caught - bad)
    outcome.first = tuple(sorted(first.values()))
    return outcome


def flip(scale: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda delta: -scale * delta


@pytest.mark.parametrize("bound", [BOUND, float("inf")], ids=["bounded", "unbounded"])
def test_both_fourfold_flippers_are_quarantined_by_round_three_and_never_an_honest_device(bound: float) -> None:
    for seed in range(12):
        outcome = simulate(seed, 2, flip(4.0), bound=bound)
        assert outcome.caught == 2
        assert outcome.first == (1, 1)
        assert outcome.false_quarantines == 0
        assert outcome.false_drops == 0


def test_among_honest_devices_only_nobody_is_dropped() -> None:
    outcomes = [simulate(100 + seed, 0, flip(1.0)) for seed in range(12)]
    assert sum(outcome.honest_updates for outcome in outcomes) == 12 * N * ROUNDS
    assert sum(outcome.false_drops for outcome in outcomes) == 0


def test_ordinary_flippers_are_found_while_the_signal_lasts() -> None:
    """Scale 1: nothing about the norm is wrong; the direction gives them away in the first, strong rounds."""
    outcomes = [simulate(200 + seed, 2, flip(1.0)) for seed in range(10)]
    assert sum(outcome.caught for outcome in outcomes) >= 0.9 * 20
    assert sum(outcome.false_quarantines for outcome in outcomes) == 0


def test_ordinary_flippers_below_the_noise_are_not_seen_and_nobody_is_wronged_for_it() -> None:
    """The limit that the documentation states: signals of 10 against noise of 157 hide a flip for twenty rounds."""
    outcomes = [simulate(300 + seed, 2, flip(1.0), norms=(12.0, 8.0)) for seed in range(10)]
    assert sum(outcome.false_drops for outcome in outcomes) == 0
    assert sum(outcome.caught for outcome in outcomes) <= 2


@pytest.mark.parametrize("agreement", [(0.4, 0.9), (0.0, 0.5)], ids=["similar", "label skew"])
def test_without_noise_heterogeneous_honest_devices_are_never_quarantined(agreement: tuple[float, float]) -> None:
    for seed in range(10):
        outcome = simulate(400 + seed, 0, flip(1.0), noise=0.0, bound=float("inf"), agreement=agreement)
        assert outcome.false_quarantines == 0
        assert outcome.false_drops == 0


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_without_noise_flippers_lose_their_rows_and_keep_their_place(scale: float) -> None:
    """A device that is alone with a class may point as far against the others, so no place is taken for it."""
    for seed in range(10):
        outcome = simulate(500 + seed, 2, flip(scale), noise=0.0, bound=float("inf"))
        assert outcome.drops >= 0.9 * 2 * ROUNDS
        assert outcome.caught == 0
        assert outcome.false_quarantines == 0


def test_broken_and_random_devices_are_quarantined() -> None:
    rng = np.random.default_rng(0)

    def random_direction(delta: np.ndarray) -> np.ndarray:
        fresh = rng.standard_normal(D)
        return 4 * fresh * np.linalg.norm(delta) / np.linalg.norm(fresh)

    for attack in (lambda delta: np.full(D, np.nan), random_direction):
        for seed in range(5):
            outcome = simulate(600 + seed, 2, attack)
            assert outcome.caught == 2
            assert outcome.false_drops == 0
