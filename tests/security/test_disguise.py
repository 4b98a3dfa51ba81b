"""Copies under noise of their own have one vote; no honest device is taken for one, whatever others send."""

import doctest

import numpy as np
import pytest

import skerry.security.anomaly.disguise as disguise
from skerry.records import Action, Reason
from skerry.security.anomaly import ScreenContext, Screener
from skerry.security.anomaly.disguise import disguises

D = 20_000
QUIET = ScreenContext(1, 0.0, float("inf"))


def names(n: int) -> list[str]:
    return [f"device-{i:02d}" for i in range(n)]


def honest(n: int, seed: int, *, alike: float = 0.0) -> np.ndarray:
    """Mixtures of ten directions, a device's own proportions, and a rest of its own that lies partly in thirty more."""
    rng = np.random.default_rng(seed)
    classes, finer = rng.standard_normal((10, D)) / np.sqrt(D), rng.standard_normal((30, D)) / np.sqrt(D)
    own = rng.dirichlet([0.3] * 10, n)
    mixed = (alike / 10 + (1 - alike) * own) @ classes
    rest = 0.3 * rng.standard_normal((n, 30)) @ finer / np.sqrt(30) + 0.1 * rng.standard_normal((n, D)) / np.sqrt(D)
    return ((mixed + rest) * rng.uniform(0.5, 2.0, (n, 1))).astype(np.float32)


def noise(like: np.ndarray, seed: int, factor: float) -> np.ndarray:
    length = factor * np.linalg.norm(like, axis=1).mean() / np.sqrt(D)
    return np.random.default_rng([seed, 9]).normal(0, length, like.shape).astype(np.float32)


def out(rows: np.ndarray, tolerate: int, screen: tuple[str, ...] = ("similarity",)) -> list[str]:
    verdicts = Screener(screen, tolerate).screen(rows, names(len(rows)), QUIET)
    assert all(v.reasons == (Reason.SIMILARITY,) for v in verdicts if v.action is Action.DROP)
    return [v.device for v in verdicts if v.action is Action.DROP]


def test_examples_run() -> None:
    assert doctest.testmod(disguise).failed == 0


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("lengths", [1.0, 1.5])
@pytest.mark.parametrize("more", [1.0, 1.1], ids=["as much noise", "more noise on each"])
def test_of_copies_under_noise_of_their_own_one_keeps_its_vote(factor: float, lengths: float, more: float) -> None:
    for seed in range(10):
        rows = honest(12, seed)
        rows[7:] = -2 * rows[:7].mean(axis=0)
        rows[7:] += noise(rows[:7], seed, factor)[:5] * np.float32(more) ** np.arange(5, dtype=np.float32)[:, None]
        rows[7:] *= np.float32(lengths) ** np.arange(5, dtype=np.float32)[:, None]
        assert out(rows, tolerate=5) == names(12)[8:]


def test_noise_that_is_kept_from_round_to_round_hides_no_more_than_fresh_noise() -> None:
    screener = Screener(["similarity"], tolerate=2)
    kept = noise(honest(10, 0), 0, 1.0)[:3]
    for number in range(10):
        rows = honest(10, number)
        rows[7:] = rows[:7].mean(axis=0) + kept
        verdicts = screener.screen(rows, names(10), ScreenContext(number, 0.0, float("inf"), whole=True))
        assert [v.device for v in verdicts if v.action is Action.DROP] == names(10)[8:]


def test_devices_that_send_nothing_but_noise_have_one_vote_together() -> None:
    rows = honest(12, 3)
    rows[9:] = noise(rows, 3, 1.0)[:3]
    assert out(rows, tolerate=3) == names(12)[10:]


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_honest_devices_are_no_copies_however_alike_their_data_are(alike: float) -> None:
    for seed in range(20):
        assert out(honest(15, seed, alike=alike), tolerate=6) == []


@pytest.mark.parametrize(
    "sent", ["noise", "the mean under noise", "a long row", "zeros", "two others' sum", "the reverse of another"]
)
def test_nothing_that_a_device_sends_makes_a_copy_of_an_honest_one(sent: str) -> None:
    for seed in range(20):
        rows = honest(12, seed, alike=0.9)
        fresh = noise(rows, seed, 1.0)[0]
        rows[4] = {
            "noise": fresh,
            "the mean under noise": 0.3 * rows.mean(axis=0) + fresh,
            "a long row": 1e6 * rows.mean(axis=0),
            "zeros": np.zeros(D),
            "two others' sum": rows[2] + rows[7],
            "the reverse of another": -3 * rows[7],
        }[sent]
        assert out(rows, tolerate=4) == []
        found = disguises(rows.astype(float) @ rows.T.astype(float), D)
        assert found.limit > 0, "one device must not be able to silence the comparison"
        assert not found.pairs.any()


def test_where_honest_devices_differ_by_noise_alone_nobody_is_flagged() -> None:
    """Among devices that have nothing in common, or too few coordinates, noise cannot be told from anything."""
    rng = np.random.default_rng(0)
    apart = rng.standard_normal((12, D)).astype(np.float32)
    found = disguises((apart @ apart.T).astype(float), D)
    assert found.limit == 0
    assert not found.pairs.any()
    small = honest(12, 0)[:, :40]
    assert not disguises((small @ small.T).astype(float), 40).pairs.any()
    assert not disguises(np.eye(5), D).pairs.any()


def test_the_sentence_says_what_noise_explains_and_what_is_usual() -> None:
    rows = honest(12, 1)
    rows[10:] = rows[10] + noise(rows, 1, 0.7)[:2]
    verdicts = Screener(["similarity"], 1).screen(rows, names(12), QUIET)
    first, second = (verdicts[i].scores[0].sentence for i in (10, 11))
    assert first == "But for noise the same update as device-11: this one keeps the group's one vote."
    assert second.startswith("But for noise the same update as device-10: they differ by 0.00")
    assert "is usual. The group has one vote." in second
    assert verdicts[11].scores[0].low == pytest.approx(disguises((rows @ rows.T).astype(float), D).limit)
