"""Free riders hand the model's last step back: they are told from devices that train, alone and in numbers."""

import json

import numpy as np
import pytest

from skerry.records import Action, Reason
from skerry.security.anomaly import NoveltyDetector, ScreenContext, Screener
from skerry.security.anomaly.evidence import Rows
from skerry.security.attacks import FreeRider, Knowledge
from skerry.security.privacy.stream import seeded_stream

D, N = 2000, 12
NAMES = [f"device-{i:02d}" for i in range(N)]


def honest(seed: int, common: float, noise: float = 0.0) -> np.ndarray:
    """Signals along a course that all share and that lasts from round to round, partly."""
    course = np.random.default_rng(99).standard_normal(D) / np.sqrt(D)
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((N, D)) / np.sqrt(D)
    rows = (common * course + np.sqrt(1 - common**2) * own) * rng.uniform(0.5, 2, (N, 1))
    return (rows + rng.normal(0, noise, (N, D)) * (noise > 0)).astype(np.float32)


START = np.random.default_rng(7).standard_normal(D).astype(np.float32)


def dropped(
    screener: Screener, rows: np.ndarray, number: int, noise: float, start: np.ndarray = START
) -> dict[str, tuple[Reason, ...]]:
    context = ScreenContext(number, noise, 3.0 if noise else float("inf"), start=start)
    verdicts = screener.screen(rows, NAMES, context)
    return {v.device: v.reasons for v in verdicts if v.action is not Action.ACCEPT}


def ride(rows: np.ndarray, last: np.ndarray, riders: int, jitter: float = 0.1) -> np.ndarray:
    known = Knowledge(own=rows[N - riders :], honest=rows[: N - riders], last=last)
    rows[N - riders :] = FreeRider(jitter).rows(known, seeded_stream(0, "attack"))
    return rows


@pytest.mark.parametrize("riders", [1, 4])
@pytest.mark.parametrize("common", [0.0, 0.5, 0.9])
def test_free_riders_are_dropped_from_the_second_round_on_and_nobody_else(riders: int, common: float) -> None:
    for seed in range(10):
        screener = Screener(["novelty"], tolerate=riders)
        first = honest(seed, common)
        assert dropped(screener, first, 1, 0.0) == {}
        step = np.median(first, axis=0)  # no mean of rows: what the model changed by is what riders hand back
        rows = ride(honest(1000 + seed, common), step, riders)
        assert dropped(screener, rows, 2, 0.0, START + step) == dict.fromkeys(NAMES[N - riders :], (Reason.NOVELTY,))


def test_under_privacy_noise_the_missing_noise_alone_gives_them_away() -> None:
    noise = 0.1
    for seed in range(10):
        screener = Screener(["novelty"], tolerate=0)
        first = honest(seed, 0.5, noise)
        dropped(screener, first, 1, noise)
        step = first.mean(axis=0)
        rows = ride(honest(1000 + seed, 0.5, noise), 3 * step, 1)
        assert set(dropped(screener, rows, 2, noise, START + step)) == {NAMES[-1]}


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("common", [0.0, 0.9, 0.999])
def test_devices_that_train_are_never_taken_for_free_riders(common: float, noise: float) -> None:
    screener, start = Screener(["novelty"], tolerate=4), START
    for number in range(1, 31):
        rows = honest(number, common, noise)
        assert dropped(screener, rows, number, noise, start) == {}
        start = start + rows.mean(axis=0)


def test_who_opposes_the_last_step_is_no_free_rider() -> None:
    screener = Screener(["novelty"], tolerate=3)
    first = honest(0, 0.5)
    dropped(screener, first, 1, 0.0)
    rows = honest(1, 0.5)
    rows[3] = -first.mean(axis=0)
    assert dropped(screener, rows, 2, 0.0, START + first.mean(axis=0)) == {}


def test_who_has_half_of_the_usual_novelty_and_no_little_is_no_free_rider() -> None:
    """Where the others cross the last step, half of what they have is no echo of it."""
    screener, first = Screener(["novelty"], tolerate=3), honest(0, 0.0)
    dropped(screener, first, 1, 0.0)
    step = first.mean(axis=0)
    rows = honest(1, 0.0)
    own = rows[3] / np.linalg.norm(rows[3])
    for along, expected in ((0.93, set()), (0.98, {NAMES[3]})):  # novelty 0.37 and 0.2
        rows[3] = along * step / np.linalg.norm(step) + np.sqrt(1 - along**2) * own
        assert set(dropped(screener, rows, 2, 0.0, START + step)) == expected
        screener = Screener(["novelty"], tolerate=3)
        dropped(screener, first, 1, 0.0)


def test_a_saved_state_goes_on_bit_for_bit_and_says_its_sentence() -> None:
    detector, again = NoveltyDetector(), NoveltyDetector()
    first, context = honest(0, 0.5), ScreenContext(1, 0.0, float("inf"), start=START)
    moved = ScreenContext(2, 0.0, float("inf"), start=START + first.mean(axis=0))
    everybody = np.ones(N, np.bool_)
    assert detector.examine(Rows(first), NAMES, everybody, context)[0].scores[0].sentence == (
        "Not compared with the model's last step: no earlier step is known."
    )
    detector.learn(first, everybody, context)
    again.restore(json.loads(json.dumps(detector.state())))
    rows = ride(honest(1, 0.5), first.mean(axis=0), 1)
    found = detector.examine(Rows(rows), NAMES, everybody, moved)
    assert found == again.examine(Rows(rows), NAMES, everybody, moved)
    assert found[-1].scores[0].sentence.startswith("Repeats the model's last step: novelty 0.10, ")
    assert found[0].scores[0].sentence.endswith("is nothing unusual.")
