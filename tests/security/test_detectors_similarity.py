"""Sybils: many copies of one update have one vote; honest devices are not taken for copies of each other."""

import json

import numpy as np
import pytest

from skerry.records import Action, Reason
from skerry.security.anomaly import ScreenContext, Screener, SimilarityDetector
from skerry.security.anomaly.evidence import Rows

D = 3000


def names(n: int) -> list[str]:
    return [f"device-{i:02d}" for i in range(n)]


def context(noise: float = 0.0, number: int = 1) -> ScreenContext:
    return ScreenContext(number, noise, 5.0 if noise else float("inf"))


def honest(n: int, seed: int, *, common: float = 0.5, noise: float = 0.0) -> np.ndarray:
    """Unit signals, partly common; lengths that differ by ten times; noise on top."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(D) / np.sqrt(D)
    rows = common * shared + np.sqrt(1 - common**2) * rng.standard_normal((n, D)) / np.sqrt(D)
    return (rows * rng.uniform(0.2, 2.0, (n, 1)) + rng.normal(0, noise, (n, D)) * (noise > 0)).astype(np.float32)


def out(rows: np.ndarray, where: ScreenContext, tolerate: int) -> dict[str, tuple[Reason, ...]]:
    verdicts = Screener(["similarity"], tolerate).screen(rows, names(len(rows)), where)
    return {v.device: v.reasons for v in verdicts if v.action is not Action.ACCEPT}


@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["without noise", "with noise"])
def test_of_forty_percent_clones_one_keeps_its_vote(noise: float) -> None:
    for seed in range(20):
        rows = honest(15, seed, noise=noise)
        rows[9:] = rows[9]
        assert out(rows, context(noise), tolerate=6) == {f"device-{i:02d}": (Reason.SIMILARITY,) for i in range(10, 15)}


@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["without noise", "with noise"])
@pytest.mark.parametrize("factor", [1e-3, 0.5, 1.3, 3.0, 100.0])
def test_another_length_gives_a_clone_no_vote(noise: float, factor: float) -> None:
    for seed in range(5):
        rows = honest(15, seed, noise=noise)
        rows[9:] = rows[9] * np.float32(factor) ** np.arange(6, dtype=np.float32)[:, None]
        assert out(rows, context(noise), tolerate=6) == {f"device-{i:02d}": (Reason.SIMILARITY,) for i in range(10, 15)}


@pytest.mark.parametrize("jitter", [0.0, 0.05])
@pytest.mark.parametrize("factor", [0.6, 3.0, 1e4])
def test_of_clones_that_the_norm_screen_would_clip_to_one_length_one_enters(factor: float, jitter: float) -> None:
    """In the direction of the honest ones and another, so that neither norm nor cosine speaks of them."""
    for seed in range(5):
        rng = np.random.default_rng([seed, 1])
        rows = honest(15, seed, common=0.7)
        row = rows[:9].mean(axis=0) + 0.7 * rng.standard_normal(D) / np.sqrt(D)
        clones = row + jitter * np.linalg.norm(row) * rng.standard_normal((6, D)) / np.sqrt(D)
        rows[9:] = clones * factor ** np.arange(6)[:, None]
        verdicts = Screener(["norm", "similarity", "cosine"], tolerate=6).screen(rows, names(15), context())
        assert [v.kept for v in verdicts] == [True] * 10 + [False] * 5


def test_rows_are_compared_at_the_lengths_at_which_they_enter_the_average() -> None:
    """With so much noise that another length would save them, were they not clipped to one length."""
    for seed in range(5):
        rng = np.random.default_rng([seed, 1])
        rows = honest(15, seed, common=0.7)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[9:] = rows[:9].mean(axis=0) + 0.12 * rng.standard_normal((6, D)) / np.sqrt(D)
        rows[9:] *= 4.0 ** np.arange(2, 8)[:, None]
        alone, clipping = (
            [v.kept for v in Screener(screen, tolerate=6).screen(rows, names(15), context())]
            for screen in (["similarity"], ["norm", "similarity"])
        )
        assert alone == [True] * 15
        assert clipping == [True] * 10 + [False] * 5


def test_two_devices_of_one_kind_of_data_and_different_lengths_are_no_copies() -> None:
    """A fifth of the usual distance by direction, as was seen of honest devices with the same few classes."""
    for seed in range(20):
        rows = honest(12, seed, common=0.0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[4] = 2.5 * (0.96 * rows[3] + np.sqrt(1 - 0.96**2) * rows[4])
        assert out(rows, context(), tolerate=3) == {}


def test_clones_that_leave_out_part_of_the_noise_are_caught_by_the_noise_alone() -> None:
    noise = 0.05
    rng = np.random.default_rng(0)
    for seed in range(20):
        rows = honest(10, seed, noise=noise)
        rows[8:] = rows[8] + rng.normal(0, 0.6 * noise, (2, D)).astype(np.float32)
        assert out(rows, context(noise), tolerate=0) == {"device-09": (Reason.SIMILARITY,)}


@pytest.mark.parametrize("common", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_honest_devices_are_no_copies_however_much_they_agree(common: float, noise: float) -> None:
    for seed in range(40):
        assert out(honest(12, seed, common=common, noise=noise), context(noise), tolerate=5) == {}


@pytest.mark.parametrize("kind", ["zero", "less noise", "an honest signal alone", "reversed", "enormous"])
def test_under_noise_nothing_that_a_device_sends_makes_a_copy_of_an_honest_one(kind: str) -> None:
    """Were honest ones linked by it, they would be in breach, or, being the majority, hide all other breaches."""
    noise = 0.05
    for seed in range(10):
        rng = np.random.default_rng([seed, 1])
        signal = 3 * rng.standard_normal(D) / np.sqrt(D)
        rows = signal + rng.normal(0, noise, (12, D))
        rows[4] = {
            "zero": np.zeros(D),
            "less noise": signal + rng.normal(0, 0.6 * noise, D),
            "an honest signal alone": signal,
            "reversed": -signal,
            "enormous": 1e6 * signal,
        }[kind]
        assert out(rows.astype(np.float32), context(noise), tolerate=3) == {}


def test_updates_that_are_zero_or_the_reverse_of_each_other_are_no_copies() -> None:
    for seed in range(10):
        rows = honest(12, seed)
        rows[2:5] = 0
        rows[7] = -2 * rows[6]
        assert out(rows, context(), tolerate=4) == {}


def test_idle_devices_do_not_say_what_is_usual_among_those_that_train() -> None:
    for seed in range(10):
        rows = honest(15, seed, common=0.95)
        rows[:8] = 0
        assert out(rows, context(), tolerate=4) == {}


def test_two_nearly_idle_devices_are_not_alike_for_being_small() -> None:
    for seed in range(20):
        rows = honest(12, seed)
        rows[3:5] *= 1e-4
        assert out(rows, context(), tolerate=3) == {}


def test_two_devices_of_much_the_same_data_are_no_copies() -> None:
    """Half of the usual distance: all others lie equally far apart, so that nothing but the least spread allows it."""
    for seed in range(20):
        rows = honest(12, seed, common=0.0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[4] = 0.875 * rows[3] + np.sqrt(1 - 0.875**2) * rows[4]
        assert out(rows, context(), tolerate=3) == {}


def test_two_groups_have_a_vote_each() -> None:
    rows = honest(15, 0)
    rows[1], rows[2] = rows[0], rows[0]
    rows[8] = rows[7]
    assert set(out(rows, context(), tolerate=4)) == {"device-01", "device-02", "device-08"}


def test_the_sentence_names_the_others_and_who_keeps_the_vote() -> None:
    rows = honest(15, 0)
    rows[3:8] = rows[3]
    verdicts = Screener(["similarity"], 5).screen(rows, names(15), context())
    kept, dropped = (next(s for s in verdicts[i].scores if s.detector == "similarity").sentence for i in (3, 4))
    assert kept == (
        "Nearly the same update as device-04, device-05, device-06 and 1 more: this one keeps the group's one vote."
    )
    assert "device-03, device-05, device-06 and 1 more: " in dropped
    assert "usual among the others" in dropped


def test_who_keeps_the_vote_of_a_group_is_as_strange_as_the_rest_of_it() -> None:
    """A false-alarm rate is learned from honest heads of groups too; a limit that does not decide is not shown."""
    rows = honest(15, 0)
    rows[3:5] = rows[3]
    head, other = SimilarityDetector().examine(Rows(rows), names(15), np.ones(15, bool), context())[3:5]
    assert (head.flagged, other.flagged) == (False, True)
    assert head.strangeness == pytest.approx(other.strangeness)
    assert head.strangeness > 5
    assert (head.scores[0].low, other.scores[0].low is not None) == (None, True)


def test_an_update_without_a_neighbour_has_no_limit() -> None:
    (alone,) = SimilarityDetector().examine(Rows(honest(1, 0, noise=0.05)), names(1), np.ones(1, bool), context(0.05))
    assert (alone.flagged, alone.scores[0].value, alone.scores[0].low) == (False, 0.0, None)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_updates_are_not_judged_without_noise(n: int) -> None:
    assert out(np.ones((n, D), np.float32), context(), tolerate=1) == {}


def test_copies_are_quarantined_after_three_rounds_and_one_stays() -> None:
    screener = Screener(["similarity"], tolerate=3)
    for number in range(1, 5):
        rows = honest(12, number)
        rows[9:] = rows[9]
        asked = [i for i, name in enumerate(names(12)) if name not in screener.quarantined]
        screener.screen(rows[asked], [names(12)[i] for i in asked], context(number=number))
    assert screener.quarantined == {"device-10", "device-11"}


def test_an_update_that_is_sent_again_is_dropped_and_a_changed_or_an_empty_one_is_not() -> None:
    screener, actions = Screener(["similarity"], tolerate=2), []
    for number in range(5):
        rows = honest(11, seed=number)
        rows[4] = honest(1, seed=100)[0]
        rows[6] = honest(1, seed=101)[0]
        rows[6, 0] += 1e-3 * number
        rows[8] = 0
        verdicts = screener.screen(rows, names(11), context(number=number))
        actions.append([verdict.action for verdict in verdicts])
        assert ("bit for bit" in verdicts[4].scores[-1].sentence) is (number in {1, 2})
    assert [a[4] for a in actions] == [Action.ACCEPT, Action.DROP, Action.DROP, Action.QUARANTINE, Action.QUARANTINE]
    assert all(action is Action.ACCEPT for a in actions for i, action in enumerate(a) if i != 4)


def test_under_noise_an_update_that_is_sent_again_is_a_breach() -> None:
    screener = Screener(["similarity"], tolerate=0)
    for number in range(2):
        rows = honest(11, seed=number, noise=0.05)
        rows[4] = honest(1, seed=100, noise=0.05)[0]
        verdicts = screener.screen(rows, names(11), context(0.05, number))
        assert [v.device for v in verdicts if not v.kept] == names(11)[4:5] * number


def test_a_round_that_most_devices_answer_as_the_last_one_accuses_nobody() -> None:
    screener = Screener(["similarity"], tolerate=2)
    for number in range(2):
        rows = honest(11, seed=0)
        rows[:5] = honest(5, seed=number)
        assert all(v.action is Action.ACCEPT for v in screener.screen(rows, names(11), context(number=number)))


def test_what_was_sent_is_remembered_over_a_restart() -> None:
    first, second = Screener(["similarity"], tolerate=2), Screener(["similarity"], tolerate=2)
    first.screen(honest(11, seed=0), names(11), context(number=0))
    second.restore(json.loads(json.dumps(first.state())))
    rows = honest(11, seed=1)
    rows[4] = honest(11, seed=0)[4]
    assert [v.device for v in second.screen(rows, names(11), context()) if not v.kept] == names(11)[4:5]
