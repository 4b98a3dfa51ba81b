"""The test over many rounds: its arithmetic, its false alarms under the worst honest case, its power."""

from math import log

import numpy as np
import pytest

from skerry.security.anomaly.history import EVIDENCE, CourseHistory

NAMES = [f"device-{i:02d}" for i in range(11)]
EVERYBODY = np.ones(11, bool)


def test_alignments_equal_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    history = CourseHistory()
    past = rng.standard_normal((11, 300)).astype(np.float32)
    history.learn(past, EVERYBODY)
    course = 0.9 * past.mean(axis=0, dtype=np.float64)
    rows = rng.standard_normal((11, 300)).astype(np.float32)
    trusted = np.arange(11) != 3
    expected = []
    for i in range(11):
        others = trusted & (np.arange(11) != i)
        u = course + rows[others].mean(axis=0, dtype=np.float64)
        expected.append(rows[i] @ u / np.linalg.norm(u))
    np.testing.assert_allclose(history._alignments(rows, trusted), expected, rtol=1e-5, atol=1e-6)


def test_false_alarms_stay_below_the_bound_in_the_worst_honest_case() -> None:
    """a = 0 while the cohort agrees, so that bets are high: 600 such devices of 20 rounds, evidence 200."""
    rng = np.random.default_rng(1)
    runs, rounds, level = 150, 20, 200.0
    without, alarms, bets = slice(7, 11), 0, []
    for _ in range(runs):
        history = CourseHistory()
        reached = np.zeros(11, bool)
        signal = rng.standard_normal(60) * 2.0 / np.sqrt(60)
        for _ in range(rounds):
            bets.append(min(max(history._expected, 0.0), 3.0))
            rows = rng.standard_normal((11, 60))
            rows[:7] += signal
            reached |= np.array(history.weigh(rows.astype(np.float32), NAMES, EVERYBODY, 1.0)) >= log(level)
            history.learn(rows.astype(np.float32), EVERYBODY)
        alarms += int(reached[without].sum())
    assert np.mean(bets) > 0.8, "without bets there is nothing to bound"
    assert alarms / (runs * 4) <= rounds / level


def test_no_bet_is_placed_while_the_cohort_does_not_agree_with_the_course() -> None:
    """Hostile devices that steer the course against everybody's signal accuse nobody."""
    rng = np.random.default_rng(2)
    history = CourseHistory()
    signal = np.zeros(200)
    signal[0] = 3.0
    worst = 0.0
    for _ in range(40):
        rows = (signal + rng.standard_normal((11, 200))).astype(np.float32)
        rows[:2] = -signal * 4 + rng.standard_normal((2, 200)) * 0.5
        weights = history.weigh(rows, NAMES, EVERYBODY, 1.0)
        steered = rows.copy()
        steered[2:] *= 0.1  # what is averaged follows the hostile rows
        history.learn(steered, EVERYBODY)
        worst = max(worst, *weights[2:])
    assert history._expected < 0.5
    assert worst < log(EVIDENCE)


def test_a_flipped_update_is_found_after_some_rounds_and_the_honest_are_not() -> None:
    rng = np.random.default_rng(3)
    history = CourseHistory()
    direction = rng.standard_normal(2570)
    direction *= 8.0 / np.linalg.norm(direction)
    found = None
    for number in range(1, 21):
        rows = direction + rng.standard_normal((11, 2570))
        rows[4] *= -1
        weights = history.weigh(rows.astype(np.float32), NAMES, EVERYBODY, 1.0)
        history.learn(rows.astype(np.float32), EVERYBODY)
        assert max(weights[:4] + weights[5:]) < log(EVIDENCE) / 2
        if found is None and weights[4] >= log(EVIDENCE):
            found = number
    assert found is not None
    assert found <= 15


def test_untrusted_rows_neither_gain_nor_lose_evidence() -> None:
    rng = np.random.default_rng(4)
    history = CourseHistory()
    trusted = np.arange(11) != 2
    rows = (1 + rng.standard_normal((11, 100))).astype(np.float32)
    rows[2] *= -40
    assert history.weigh(rows, NAMES, trusted, 1.0)[2] == 0.0


def test_a_restored_history_goes_on_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    rounds = [rng.standard_normal((11, 100)).astype(np.float32) for _ in range(6)]
    whole, first, second = CourseHistory(), CourseHistory(), CourseHistory()
    for number, rows in enumerate(rounds):
        expected = whole.weigh(rows, NAMES, EVERYBODY, 1.0)
        whole.learn(rows, EVERYBODY)
        if number == 3:
            second.restore(first.state())
        part = first if number < 3 else second
        assert part.weigh(rows, NAMES, EVERYBODY, 1.0) == expected
        part.learn(rows, EVERYBODY)
    fresh = CourseHistory()
    fresh.restore(CourseHistory().state())
    assert fresh.state() == CourseHistory().state()


def test_a_round_without_accepted_rows_and_a_new_layout_are_survived() -> None:
    history = CourseHistory()
    rows = np.ones((11, 5), np.float32)
    history.learn(rows, np.zeros(11, bool))
    assert history.state()["course"] is None
    history.learn(rows, EVERYBODY)
    other = np.ones((11, 7), np.float32)
    assert history.weigh(other, NAMES, EVERYBODY, 1.0) == pytest.approx([-(7**0.5) - 0.5] * 11)
