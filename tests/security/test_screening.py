"""The policy of the screen: who is dropped, who is kept, who is put into quarantine, and that it can be resumed."""

import json
from math import log

import numpy as np
import pytest

from skerry.errors import InputError, ScenarioError
from skerry.records import Action, Reason
from skerry.security.anomaly import ScreenContext, Screener, describe_fault
from skerry.security.anomaly.strikes import SUSTAINED
from skerry.server.registry import beyond

from ._screening import ALL, INF, context, foreign, names, out, rows


def test_honest_updates_are_accepted_with_their_figures() -> None:
    verdicts = Screener(ALL, tolerate=2).screen(rows(), names(11), context())
    assert out(verdicts) == []
    assert [verdict.device for verdict in verdicts] == names(11)
    assert [score.detector for score in verdicts[0].scores] == ["norm", "cosine", "cosine_history"]
    assert all(score.sentence.endswith(".") for verdict in verdicts for score in verdict.scores)
    assert all(verdict.round == 1 and verdict.reasons == () for verdict in verdicts)


def test_a_row_that_is_not_finite_is_dropped_even_when_nothing_is_screened_for() -> None:
    deltas = rows()
    deltas[3, 7] = np.nan
    deltas[5] = np.inf
    verdicts = Screener([], tolerate=0).screen(deltas, names(11), context())
    assert out(verdicts) == ["device-03", "device-05"]
    assert verdicts[3].reasons == (Reason.NOT_FINITE,)
    assert verdicts[3].scores[0].sentence == "1 of 400 numbers are NaN or infinite."


def test_a_round_of_bad_replies_only_is_judged_too() -> None:
    screener = Screener(ALL, tolerate=2)
    assert screener.screen(np.empty((0, 4), np.float32), [], context()) == []
    verdicts = screener.screen(np.full((3, 4), np.nan, np.float32), names(3), context())
    assert out(verdicts) == names(3)


def test_three_drops_put_a_device_into_quarantine_and_it_stays_there() -> None:
    screener = Screener(ALL, tolerate=1, patience=3)
    actions = []
    for number in range(1, 6):
        deltas = rows(seed=number)
        if number <= 3:
            deltas[4] *= -4
        verdict = screener.screen(deltas, names(11), context(number))[4]
        actions.append(verdict.action)
    assert actions == [Action.DROP, Action.DROP, Action.QUARANTINE, Action.QUARANTINE, Action.QUARANTINE]
    assert screener.quarantined == {"device-04"}
    assert verdict.reasons == (Reason.QUARANTINED,)
    assert verdict.scores[0].sentence == "In quarantine since round 3."


def near(deltas: np.ndarray, device: int, out: float) -> np.ndarray:
    """The same updates, one of them so many robust standard deviations too long, in a direction of its own."""
    lengths = np.linalg.norm(np.delete(deltas, device, axis=0), axis=1)
    spread = max(log(1.25), 1.4826 * float(np.median(np.abs(np.log(lengths) - np.median(np.log(lengths))))))
    length = float(np.median(lengths)) * np.exp(out * spread)
    return foreign(deltas, device, length / float(np.linalg.norm(deltas[device])))


@pytest.mark.parametrize(("out", "lost"), [(5.3, False), (6.3, True)])
def test_what_lies_little_beyond_the_limit_costs_a_row_and_no_strike(out: float, lost: bool) -> None:
    screener = Screener(["norm"], tolerate=1)
    for number in range(30):
        deltas = rows(seed=number)
        if number % 4 == 0:
            deltas = near(deltas, 4, out)
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        assert verdict.kept == (number % 4 != 0) or lost
    assert (screener.quarantined == {"device-04"}) is lost


def test_what_lies_little_beyond_the_limit_in_every_round_is_a_strike_in_the_end() -> None:
    screener = Screener(["norm"], tolerate=1)
    actions = [
        screener.screen(near(rows(seed=number), 4, 5.3), names(11), context(number, 0.0, INF))[4].action
        for number in range(SUSTAINED + 2)
    ]
    assert actions == [Action.DROP] * (SUSTAINED + 1) + [Action.QUARANTINE]


@pytest.mark.parametrize(("apart", "lost"), [(0.22, False), (0.07, False), (1e-5, True)])
def test_who_is_much_like_another_loses_votes_and_only_a_copy_its_place(apart: float, lost: bool) -> None:
    """As two honest devices with the same one class, in every round."""
    screener, dropped = Screener(["similarity"], tolerate=1), 0
    for number in range(30):
        rng = np.random.default_rng(number)
        deltas = rng.standard_normal((11, 400))
        deltas[4] = deltas[3] + apart * np.sqrt(2) * rng.standard_normal(400)
        verdict = screener.screen(deltas.astype(np.float32), names(11), context(number, 0.0, INF))[4]
        dropped += not verdict.kept
    assert dropped >= 25
    assert (screener.quarantined == {"device-04"}) is lost


def test_drops_count_over_the_run_not_in_a_row() -> None:
    screener = Screener(ALL, tolerate=1, patience=2)
    for number, hostile in enumerate([True, False, False, True], start=1):
        deltas = rows(seed=number)
        if hostile:
            deltas[4] *= -4
        screener.screen(deltas, names(11), context(number))
    assert screener.quarantined == {"device-04"}


def test_a_breach_of_public_limits_is_dropped_whatever_the_tolerance() -> None:
    deltas = rows()
    deltas[:5] *= -4
    verdicts = Screener(["norm"], tolerate=0).screen(deltas, names(11), context())
    assert out(verdicts) == names(5)
    assert all(verdict.reasons == (Reason.NORM,) for verdict in verdicts[:5])


def test_when_most_updates_breach_the_limits_are_doubted_and_only_real_outliers_fall() -> None:
    """A wrong noise_std or signal_bound must not empty the cohort: at most ``tolerate`` far-out rows are dropped."""
    deltas = rows()
    deltas[[2, 7]] *= 6
    for wrong in (context(noise=0.4, bound=1.0), context(noise=3.0, bound=1.0)):
        verdicts = Screener(["norm"], tolerate=2).screen(deltas, names(11), wrong)
        assert out(verdicts) == ["device-02", "device-07"]
        assert "the limits are in doubt" in verdicts[0].scores[-1].sentence


def test_comparisons_drop_at_most_the_tolerated_number_farthest_out_first() -> None:
    deltas = foreign(foreign(foreign(rows(), 1, 5), 2, 9), 3, 7)
    for tolerate, expected in ((0, []), (1, [2]), (2, [2, 3]), (3, [1, 2, 3])):
        verdicts = Screener(["norm"], tolerate=tolerate).screen(deltas, names(11), context(noise=0.0, bound=INF))
        assert out(verdicts) == [f"device-{i:02d}" for i in expected]
    deltas = rows()
    deltas[1:3] *= -1
    kept = Screener(["cosine"], tolerate=1).screen(deltas, names(11), context())
    assert sorted(v.action.value for v in kept[1:3]) == ["accept", "drop"]
    accepted = next(v for v in kept[1:3] if v.kept)
    assert accepted.reasons == ()
    assert accepted.scores[-1].sentence.startswith("Flagged, but kept: defence.tolerate = 1")


def test_a_row_that_is_kept_but_too_long_is_clipped_to_the_longest_that_passes() -> None:
    deltas = foreign(foreign(rows(), 1, 5), 2, 9)
    quiet = context(noise=0.0, bound=INF)
    clipped, dropped = Screener(["norm", "cosine"], tolerate=1).screen(deltas, names(11), quiet)[1:3]
    assert (clipped.action, clipped.reasons, clipped.kept) == (Action.CLIP, (Reason.NORM,), True)
    assert dropped.action is Action.DROP
    assert clipped.scale * clipped.scores[0].value == pytest.approx(clipped.scores[0].high)
    again = deltas.copy()
    again[1] *= clipped.scale * 0.999
    assert Screener(["norm"], tolerate=1).screen(again, names(11), quiet)[1].action is Action.ACCEPT
    against = deltas * np.where(np.arange(11) == 1, -1, 1)[:, None].astype(np.float32)
    kept = Screener(["norm", "cosine"], tolerate=1).screen(against, names(11), quiet)
    assert [v.action for v in kept[1:3]] == [Action.CLIP, Action.DROP], "whatever else is said against it"


def test_a_device_that_is_always_too_long_never_loses_its_place_for_it() -> None:
    """As one with a handful of examples among devices with hundreds."""
    screener = Screener(["norm", "similarity", "cosine"], tolerate=3)
    for number in range(20):
        deltas = rows(seed=number)
        deltas[4] *= 9
        verdict = screener.screen(deltas, names(11), context(number, 0.0, INF))[4]
        assert (verdict.action, verdict.reasons) == (Action.CLIP, (Reason.NORM,))
        assert verdict.scale < 0.4
    assert screener.quarantined == frozenset()


def test_devices_excluded_from_the_beginning_count_among_those_that_are_tolerated() -> None:
    deltas = foreign(rows(), 2, 9)
    open_, taken = Screener(["norm"], tolerate=1), Screener(["norm"], tolerate=1)
    taken.exclude(["elsewhere"])
    unbounded = context(noise=0.0, bound=INF)
    assert out(open_.screen(deltas, names(11), unbounded)) == ["device-02"]
    assert out(taken.screen(deltas, names(11), unbounded)) == []
    again = Screener(["norm"], tolerate=1)
    again.restore(json.loads(json.dumps(taken.state())))
    assert again.quarantined == {"elsewhere"}


def test_when_the_tolerated_devices_are_in_quarantine_no_comparison_can_cost_another_its_place() -> None:
    screener = Screener(["norm"], tolerate=1, patience=1)
    screener.screen(foreign(rows(), 1, 9), names(11), context(1, 0.0, INF))
    assert screener.quarantined == {"device-01"}
    deltas = foreign(rows(seed=1), 6, 9)
    rest = [i for i in range(11) if i != 1]
    verdicts = screener.screen(deltas[rest], [names(11)[i] for i in rest], context(2, 0.0, INF))
    assert out(verdicts) == []


def test_a_device_rejected_before_the_matrix_counts_against_the_tolerance() -> None:
    screener = Screener(["norm"], tolerate=1)
    score = describe_fault(b"", 400)
    verdict = screener.reject("device-20", Reason.SHAPE, context(1, 0.0, INF), score)
    assert (verdict.action, verdict.reasons, verdict.scores) == (Action.DROP, (Reason.SHAPE,), (score,))
    deltas = foreign(rows(), 6, 9)
    assert out(screener.screen(deltas, names(11), context(1, 0.0, INF))) == []
    assert out(screener.screen(deltas, names(11), context(2, 0.0, INF))) == ["device-06"]


def test_rejected_replies_lead_to_quarantine_but_only_for_faults_of_the_update() -> None:
    screener = Screener(ALL, tolerate=1, patience=2)
    screener.reject("device-03", Reason.NOT_FINITE, context(1))
    assert screener.reject("device-03", Reason.NOT_FINITE, context(2)).action is Action.QUARANTINE
    assert screener.reject("device-03", Reason.SHAPE, context(3)).reasons == (Reason.QUARANTINED,)
    for reason in (Reason.NOT_AUTHENTIC, Reason.REPLAYED, Reason.STALE, Reason.NO_REPLY):
        with pytest.raises(InputError):
            screener.reject("device-04", reason, context(1))


@pytest.mark.parametrize("detector", ["norm", "similarity", "clustering", "spectral", "cosine", "root_set", "foreign"])
def test_no_score_of_an_unflagged_update_lies_outside_the_limits_that_it_is_told(detector: str) -> None:
    """Else the registry takes a plain acceptance for one that something spoke against."""
    judged = 0
    for seed in range(60):
        rng, n = np.random.default_rng(seed), 5 + seed % 5
        deltas = rng.integers(2) + rng.standard_normal((n, 60)) * np.exp(rng.standard_normal((n, 1)))
        one, other, another = rng.choice(n, 3, replace=False)
        deltas[other] = deltas[one] + np.exp(rng.uniform(-6, 0)) * rng.standard_normal(60)
        deltas[another] = deltas[one] + np.exp(rng.uniform(-6, 0)) * rng.standard_normal(60)
        where = ScreenContext(1, 0.0, INF, root=rng.standard_normal((5, 60)).astype(np.float32))
        for verdict in Screener([detector], tolerate=1).screen(deltas.astype(np.float32), names(n), where):
            (score, *more) = verdict.scores
            if verdict.action is Action.ACCEPT and not more:
                assert not beyond(score), (seed, score)
                judged += 1
    assert judged > 200


@pytest.mark.parametrize(("n", "tolerate", "dropped"), [(4, 1, True), (5, 2, False), (6, 2, True), (3, 1, False)])
def test_comparisons_need_an_honest_majority_among_the_others(n: int, tolerate: int, dropped: bool) -> None:
    deltas = foreign(rows(n), 0, 20)
    verdicts = Screener(["norm"], tolerate=tolerate).screen(deltas, names(n), context(noise=0.0, bound=INF))
    assert (out(verdicts) == ["device-00"]) is dropped


def test_what_norm_flags_is_no_reference_for_cosine() -> None:
    """Five huge rows would turn the median of eleven; they are out before directions are compared."""
    deltas = rows()
    deltas[:5] *= -100
    verdicts = Screener(ALL, tolerate=5).screen(deltas, names(11), context())
    assert out(verdicts) == names(5)
    for verdict in verdicts[5:]:
        assert verdict.scores[1].value > 0


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_has_no_influence(seed: int) -> None:
    deltas = rows()
    deltas[2] *= -4
    deltas[5] = np.nan
    deltas[8] *= -1
    order = np.random.default_rng(seed).permutation(11)
    straight, shuffled = Screener(ALL, tolerate=2), Screener(ALL, tolerate=2)
    for number in range(1, 4):
        expected = straight.screen(deltas, names(11), context(number))
        found = shuffled.screen(deltas[order], [names(11)[i] for i in order], context(number))
        assert [verdict.device for verdict in found] == [names(11)[i] for i in order]
        assert {v.device: v.to_json() for v in found} == {v.device: v.to_json() for v in expected}
    assert straight.state() == shuffled.state()


def test_equally_suspicious_devices_fall_in_the_order_of_their_names() -> None:
    deltas = foreign(rows(), 3, 9)
    deltas[7] = deltas[3]
    verdicts = Screener(["norm"], tolerate=1).screen(deltas, names(11), context(noise=0.0, bound=INF))
    assert out(verdicts) == ["device-03"]


def test_inputs_are_not_changed() -> None:
    deltas = rows()
    deltas[2] = np.inf
    before = deltas.copy()
    deltas.flags.writeable = False
    Screener(ALL, tolerate=2).screen(deltas, names(11), context())
    np.testing.assert_array_equal(deltas, before)


def test_a_row_that_is_only_clipped_does_not_turn_the_course_that_later_rounds_compare_with() -> None:
    """Five answer, too few to drop one; afterwards the two hostile devices send noise alone and are not noticed."""
    screener, devices = Screener(ALL, tolerate=2), names(6)
    first = rows(5, 1600)
    first[4] = -1e6 * np.ones(1600)
    kept = screener.screen(first, devices[:5], context(1, bound=INF))
    assert kept[4].action is Action.CLIP
    for number in range(2, 22):
        later = rows(6, 1600, seed=number)
        later[4:] -= 0.5
        asked = [i for i in range(6) if devices[i] not in screener.quarantined]
        screener.screen(later[asked], [devices[i] for i in asked], context(number, bound=INF))
    assert screener.quarantined <= set(devices[4:])


def test_a_row_that_is_only_clipped_is_no_step_that_others_repeat() -> None:
    """A hostile device sends another's direction ahead; without noise a fixed direction is all that novelty knows."""
    screener, deltas = Screener(["norm", "novelty"], tolerate=0), rows()
    deltas[4] = 1e6 * deltas[6]
    screener.screen(deltas, names(11), context(1, 0.0, INF))
    verdict = screener.screen(rows(), names(11), context(2, 0.0, INF))[6]
    novelty = next(score for score in verdict.scores if score.detector == "novelty")
    assert novelty.value > 0.5


def test_a_resumed_screen_gives_the_verdicts_of_an_uninterrupted_one() -> None:
    def attacked(number: int) -> np.ndarray:
        deltas = rows(seed=number)
        deltas[4] *= -4
        deltas[8] *= -1
        return deltas

    whole, first = Screener(ALL, tolerate=2), Screener(ALL, tolerate=2)
    second = Screener(ALL, tolerate=2)
    for number in range(1, 9):
        expected = whole.screen(attacked(number), names(11), context(number))
        if number == 3:
            second.restore(json.loads(json.dumps(first.state())))
        part = first if number < 3 else second
        assert part.screen(attacked(number), names(11), context(number)) == expected
    assert second.state() == whole.state()
    assert second.quarantined == whole.quarantined == {"device-04", "device-08"}


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = Screener(ALL, tolerate=2).state()
    with pytest.raises(InputError, match="does not fit"):
        Screener(["norm"], tolerate=2).restore(state)
    with pytest.raises(InputError, match="does not fit"):
        Screener(ALL, tolerate=2).restore({**state, "schema": 2})


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ScenarioError):
        Screener(["norms"], tolerate=2)
    with pytest.raises(InputError):
        Screener(ALL, tolerate=-1)
    with pytest.raises(InputError):
        Screener(ALL, tolerate=1, patience=0)


@pytest.mark.parametrize(
    ("deltas", "devices", "bad"),
    [
        (rows(3), names(2), context()),
        (rows(3).astype(np.float64), names(3), context()),
        (rows(3)[0], names(3), context()),
        (rows(3), ["a", "b", "a"], context()),
        (rows(3), names(3), context(noise=-1.0)),
        (rows(3), names(3), context(noise=INF)),
        (rows(3), names(3), context(bound=-1.0)),
        (rows(3), names(3), context(bound=float("nan"))),
        (rows(3), names(3), ScreenContext(1, 1.0, 1.0, steps=0)),
    ],
)
def test_rows_names_and_context_must_fit(deltas: np.ndarray, devices: list[str], bad: ScreenContext) -> None:
    with pytest.raises(InputError):
        Screener(ALL, tolerate=1).screen(deltas, devices, bad)


def test_verdicts_are_json() -> None:
    deltas = rows()
    deltas[2] *= -4
    for verdict in Screener(ALL, tolerate=2).screen(deltas, names(11), context(bound=INF)):
        json.dumps(verdict.to_json(), allow_nan=False)


def test_revocation_is_proposed_for_breaches_of_public_limits_alone() -> None:
    screener = Screener(["norm", "cosine"], tolerate=2)
    for number in range(1, 5):
        deltas = rows(seed=number)
        deltas[4] *= -4  # longer than any honest update can be
        deltas[8] *= -1  # against the others
        verdicts = screener.screen(deltas, names(11), context(number))
    assert screener.quarantined == {"device-04", "device-08"}
    assert [v.device for v in verdicts if v.propose_revocation] == ["device-04"]
    assert verdicts[4].to_json()["propose_revocation"] is True
