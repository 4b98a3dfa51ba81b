"""Limits that are learned from accepted updates: at which rate they flag, and what they are never learned from."""

import json
from base64 import b64decode

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.records import Action, Reason
from skerry.security.anomaly import Screener
from skerry.security.anomaly.evidence import FAR

from ._screening import INF, context, foreign, names, out, rows


def honest(number: int, spread: float = 1.0) -> np.ndarray:
    """Eleven updates whose lengths differ by chance, each device as often long as any other."""
    rng = np.random.default_rng(number)
    return (rows(seed=number) * np.exp(spread * rng.standard_normal(11))[:, None]).astype(np.float32)


def test_learned_limits_flag_honest_updates_at_the_rate_and_quarantine_nobody() -> None:
    """200 rounds of eleven honest devices at 5 %: in a round each may be flagged with that probability."""
    screener, flagged, judged = Screener(["norm"], tolerate=2, false_alarms=0.05), 0, 0
    for number in range(200):
        verdicts = screener.screen(honest(number), names(11), context(number, 0.0, INF))
        if number >= 20:
            flagged += sum(verdict.action is Action.CLIP for verdict in verdicts)
            judged += len(verdicts)
    assert 0.03 < flagged / judged < 0.065
    assert screener.quarantined == frozenset()


def test_what_an_attacker_was_dropped_for_is_not_learned_from() -> None:
    """One of eleven would be 9 % of what is learned, and move a limit of 5 % up to itself."""
    screener = Screener(["norm"], tolerate=2, false_alarms=0.05)
    for number in range(60):
        deltas = honest(number, spread=0.2)
        if number >= 20:
            deltas = foreign(deltas, 4, 5)
        screener.screen(deltas, names(11), context(number, 0.0, INF))
    assert screener.quarantined == {"device-04"}
    assert screener.state()["waiting"].get("device-04") is None
    fresh = foreign(honest(99, spread=0.2), 6, 5)
    rest = [i for i in range(11) if i != 4]
    assert out(screener.screen(fresh[rest], [names(11)[i] for i in rest], context(99, 0.0, INF))) == ["device-06"]


def test_what_only_a_learned_limit_flags_is_dropped_without_a_strike_and_learned_from() -> None:
    """A device that lies a little out in every round loses rows, but its place only to the fixed limit."""
    screener, actions = Screener(["norm"], tolerate=2, false_alarms=0.05), []
    for number in range(120):
        deltas = honest(number, spread=0.2)
        if number >= 60:
            lengths = np.linalg.norm(deltas, axis=1)
            deltas = foreign(deltas, 4, 2.5 * np.median(lengths) / lengths[4])
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        actions.append(verdict.action)
        if verdict.action is Action.DROP:
            assert verdict.reasons == (Reason.NORM,)
    assert actions[60:].count(Action.DROP) >= 3
    assert screener.quarantined == frozenset()
    assert screener.state()["consequences"]["strikes"].get("device-04") is None
    assert actions[-10:].count(Action.DROP) < 10, "what it sends in every round is part of what is usual"


def test_what_a_cleared_device_was_dropped_for_is_learned_from_after_all() -> None:
    screener = Screener(["norm"], tolerate=1, false_alarms=0.05)
    for number in range(30):
        deltas = rows(seed=number)
        if number == 20:
            deltas = foreign(deltas, 4, 50)
        screener.screen(deltas, names(11), context(number, 0.0, INF))
        state = screener.state()
        learned = np.frombuffer(b64decode(state["calibration"]["norm"]), "<f8")
        if number == 20:
            assert list(state["waiting"]) == ["device-04"]
        if number >= 20:
            assert (not state["waiting"]) == (learned.max() > FAR)
    assert state["waiting"] == {}


def test_an_attacker_who_is_cleared_in_between_lifts_no_limit_above_the_fixed_one() -> None:
    """One drop in seven rounds is never enough for quarantine, and at 1 % enough of what is learned."""
    screener, dropped = Screener(["norm"], tolerate=2, false_alarms=0.01), []
    for number in range(100):
        deltas = honest(number, spread=0.2)
        if number % 7 == 0:
            deltas = foreign(deltas, 4, 50)
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        if number % 7 == 0:
            dropped.append(verdict.action is Action.DROP)
            assert verdict.scores[0].high < 5 * np.median(np.linalg.norm(deltas, axis=1))
    assert len(dropped) == 15
    assert all(dropped)


def test_what_is_flagged_and_kept_lifts_no_limit_above_the_fixed_one() -> None:
    screener = Screener(["norm"], tolerate=0, false_alarms=0.05)
    for number in range(60):
        deltas = honest(number, spread=0.2)
        deltas[4] *= 50
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        assert verdict.action is Action.CLIP
        assert verdict.scale < 0.2


def test_what_is_flagged_and_kept_clears_nobody() -> None:
    """While another lies farther out and takes the only place, a device is clipped: nothing that speaks for it."""
    screener = Screener(["norm"], tolerate=1, false_alarms=0.05)
    for number in range(40):
        deltas = honest(number, spread=0.2)
        if number >= 20:
            deltas = foreign(deltas, 4, 50)
        if number >= 21:
            deltas = foreign(deltas, 2, 5000)
        screener.screen(deltas, names(11), context(number, 0.0, INF))
        if number >= 20:
            assert list(screener.state()["waiting"])[:1] == ["device-04"]
    assert screener.quarantined == {"device-02"}


@pytest.mark.parametrize("false_alarms", [None, 0.01, 0.2])
def test_what_is_no_update_is_no_false_alarm_however_seldom_it_comes(false_alarms: float | None) -> None:
    """NaN in every tenth round, and a reply of another shape: three of them are a quarantine at any rate."""
    screener, actions = Screener(["norm"], tolerate=2, false_alarms=false_alarms), []
    for number in range(20):
        deltas = honest(number, spread=0.2)
        if number % 10 == 0:
            deltas[4, 7] = np.nan
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        if number % 10 == 0:
            actions.append(verdict.action)
    verdict = screener.reject("device-04", Reason.SHAPE, context(20, 0.0, INF))
    assert [*actions, verdict.action] == [Action.DROP, Action.DROP, Action.QUARANTINE]
    assert not verdict.propose_revocation, "a device whose training diverges sends NaN too"


def test_a_resumed_screen_with_learned_limits_goes_on_bit_for_bit() -> None:
    def attacked(number: int) -> np.ndarray:
        deltas = honest(number)
        return foreign(deltas, 4, 1000) if number % 7 == 3 else deltas

    whole, first, second = (Screener(("norm", "cosine"), tolerate=2, false_alarms=0.1) for _ in range(3))
    for number in range(30):
        expected = whole.screen(attacked(number), names(11), context(number, 0.0, INF))
        if number == 18:
            assert first.state()["waiting"], "a score that waits must survive the restart too"
            second.restore(json.loads(json.dumps(first.state())))
        part = first if number < 18 else second
        assert part.screen(attacked(number), names(11), context(number, 0.0, INF)) == expected
    assert second.state() == whole.state()
    with pytest.raises(InputError, match="does not fit"):
        Screener(("norm", "cosine"), tolerate=2).restore(whole.state())


def persistent(number: int) -> np.ndarray:
    """Eleven updates whose lengths walk: a device that lies far out now lies there in the next rounds too."""
    walk = np.random.default_rng(5).standard_normal((number + 1, 11)).sum(axis=0) / 12
    return (rows(seed=number) * np.exp(walk)[:, None]).astype(np.float32)


def test_however_scores_depend_on_each_other_no_more_than_the_rate_are_acted_on_for_learned_limits() -> None:
    screener, acted, judged, excused = Screener(["norm"], tolerate=2, false_alarms=0.02), 0, 0, 0
    for number in range(250):
        near = fixed_limit(persistent(number))
        for verdict in screener.screen(persistent(number), names(11), context(number, 0.0, INF)):
            judged += verdict.action is not Action.QUARANTINE
            acted += verdict.action in {Action.DROP, Action.CLIP} and verdict.scores[0].value < near
            excused += any("defence.false_alarms" in score.sentence for score in verdict.scores)
        assert acted <= 0.02 * judged, "not at the end alone: after every round"
    assert acted > 0.004 * judged
    assert excused > 10, "scores of this kind would exceed the rate"


def fixed_limit(deltas: np.ndarray) -> float:
    """A length that five robust standard deviations never lie below: the least spread is 1.25 times."""
    return float(1.25**5 * np.median(np.linalg.norm(deltas, axis=1)))


def test_of_those_for_which_there_is_room_the_farthest_out_is_dropped() -> None:
    """Two lie out a little when there is room for one."""
    screener = Screener(["norm"], tolerate=2, false_alarms=0.05)
    for number in range(20):
        deltas = honest(number, spread=0.05)
        if number == 19:
            deltas = foreign(foreign(deltas, 4, 1.6), 6, 1.9)
            state = screener.state()
            state["allowance"]["paid"] = int(0.05 * 11 * 20) - 1
            screener.restore(state)
        verdicts = screener.screen(deltas, names(11), context(number, 0.0, INF))
    assert out(verdicts) == ["device-06"]
    assert verdicts[4].action is Action.ACCEPT
    assert verdicts[4].scores[-1].sentence == (
        "Flagged by a learned limit, but kept: as many were dropped as defence.false_alarms allows so far."
    )
