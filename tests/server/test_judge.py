"""The stage *screen*: what becomes of the rows of a round by their verdicts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from skerry.device.protocol import Update
from skerry.records import Action, Reason
from skerry.security.anomaly import ScreenContext, Screener
from skerry.server.collect import Opened
from skerry.server.judge import Valid, screen, validate

NAMES = tuple(f"device-{i:02d}" for i in range(11))


def judged(deltas: np.ndarray, tolerate: int):
    """The real screen, in a federation of which the stage needs no more."""
    federation = SimpleNamespace(
        screener=Screener(["norm"], tolerate=tolerate),
        screen_context=lambda number, vector=None: ScreenContext(number, 0.0, float("inf"), start=vector, whole=True),
    )
    return screen(federation, 1, Valid(NAMES, deltas, {}, {}), np.zeros(400, np.float32))


def test_a_clipped_row_enters_the_average_at_the_longest_length_that_passes_and_a_dropped_one_does_not() -> None:
    deltas = (0.5 + np.random.default_rng(0).standard_normal((11, 400))).astype(np.float32)
    deltas[1] *= 5
    others = np.delete(deltas, 2, axis=0).T
    deltas[2] -= others @ np.linalg.lstsq(others, deltas[2], rcond=None)[0]  # nothing of it is in their directions
    deltas[2] *= 9
    before = deltas.copy()
    found = judged(deltas, tolerate=1)
    assert found.devices == tuple(name for name in NAMES if name != "device-02")
    assert found.dropped == {"device-02": "norm"}
    assert found.flagged == ("device-02",)
    clipped = next(v for v in found.verdicts if v.device == "device-01")
    assert clipped.action is Action.CLIP
    lengths = np.linalg.norm(found.deltas, axis=1)
    np.testing.assert_allclose(lengths[1], clipped.scores[0].high, rtol=1e-5)
    np.testing.assert_array_equal(found.deltas[2:], before[3:])
    np.testing.assert_array_equal(deltas, before)


def test_each_update_that_is_none_falls_with_its_reason_and_the_others_keep_their_rows() -> None:
    fine = [np.full(4, n, np.float32) for n in range(3)]
    nan, wide = np.array([0, np.nan, 0, 0], np.float32), np.full(4, 1, np.float64)
    deltas = {"ann": fine[0], "bob": nan, "cai": fine[1], "dee": fine[2][:3], "eve": wide, "fay": fine[1]}
    deltas["gus"] = fine[2]
    layouts = {"cai": "another"}
    updates = {name: Update(delta, layouts.get(name, "ours"), "", 1, "", 0.5) for name, delta in deltas.items()}
    updates["fay"] = replace(updates["fay"], loss=-1.0)
    layout = SimpleNamespace(digest="ours", size=4)
    training = SimpleNamespace(fairness=1.0)
    federation = SimpleNamespace(model=SimpleNamespace(layout=layout), scenario=SimpleNamespace(training=training))
    found = validate(federation, Opened(updates, {}, {"hal": Reason.NO_REPLY}, {}))
    assert found.devices == ("ann", "gus")
    np.testing.assert_array_equal(found.deltas, [fine[0], fine[2]])
    assert found.dropped == {
        "hal": Reason.NO_REPLY,
        "bob": Reason.NOT_FINITE,
        **dict.fromkeys(("cai", "dee", "eve", "fay"), Reason.SHAPE),
    }
    training.fairness = 0.0
    assert validate(federation, Opened(updates, {}, {}, {})).devices == ("ann", "fay", "gus")
    assert validate(federation, Opened({}, {}, {}, {})).deltas.shape == (0, 4)


def test_where_nothing_is_clipped_rows_are_those_that_came() -> None:
    deltas = np.random.default_rng(0).standard_normal((11, 400)).astype(np.float32)
    np.testing.assert_array_equal(judged(deltas, tolerate=2).deltas, deltas)


def test_where_every_row_is_kept_as_it_came_no_second_matrix_is_made() -> None:
    deltas = np.random.default_rng(0).standard_normal((11, 400)).astype(np.float32)
    assert np.shares_memory(judged(deltas, tolerate=2).deltas, deltas)
