"""Plots show what the figures are: ticks cover the data, points lie where their values are."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from skerry.server.report.plots import Line, column_plot, line_plot, nice_ticks
from skerry.server.report.verdict_map import verdict_map

finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


@given(finite, finite)
def test_ticks_are_round_rise_and_cover_the_range(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 9
    slack = 1e-6 * max(1.0, high - low)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_a_point_lies_as_high_as_its_value(values: list[float]) -> None:
    plot = line_plot("p", "t", range(len(values)), [Line("a", "final", tuple(values), "x")], str, tick=str)
    points = [float(y) for _, y in re.findall(r"[ML]([\d.]+) (-?[\d.]+)", plot.lines[0].path)]
    assert len(points) == len(values)
    assert all(-0.1 <= y <= 1000.1 for y in points)
    for i in range(len(values) - 1):
        if values[i] - values[i + 1] > 0.01:
            assert points[i] < points[i + 1]


def test_a_missing_value_is_a_gap_and_is_not_told() -> None:
    plot = line_plot("p", "t", [1, 2, 3], [Line("a", "final", (0.1, None, 0.3), "x")], str, tick=str)
    assert plot.lines[0].path.count("M") == 2
    assert plot.columns[1].tip == "Round 2"
    assert plot.rows[1] == ("2", "")


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_stacked_columns_add_up(values: list[float]) -> None:
    xs = list(range(1, len(values) + 1))
    plot = column_plot("p", "t", xs, [("final", "a", values, ""), ("open", "b", values, "")], str, tick=str)
    for column in plot.columns:
        (_, first_top, first), (_, second_top, second) = column.bars
        assert abs(first_top + first - 1000) < 0.2
        assert abs(second_top + second - first_top) < 0.3
    assert plot.x_ticks[0].text == "1"


@given(st.integers(1, 400))
def test_the_last_round_is_labelled_and_labels_keep_apart(rounds: int) -> None:
    plot = line_plot("p", "t", range(rounds + 1), [Line("a", "f", (0.0,) * (rounds + 1), "x")], str, tick=str)
    places = [tick.at for tick in plot.x_ticks]
    assert places == sorted(places)
    assert all(b - a >= 8 for a, b in pairwise(places)) or rounds < 4
    assert len(places) <= 12


def _verdict(device: str, number: int, action: str = "accept") -> dict[str, object]:
    return {"device": device, "round": number, "action": action, "reasons": ["norm"], "scores": []}


def test_a_long_run_shows_the_worst_of_each_few_rounds() -> None:
    verdicts = [_verdict("a", number, "drop" if number == 77 else "accept") for number in range(1, 181)]
    found = verdict_map(verdicts, 180, kept_out={}, attackers=None)
    ((_, _, cells),) = found.rows
    assert len(cells) == 60
    assert [cell.action for cell in cells].count("drop") == 1
    assert cells[25].action == "drop"
    assert "Round 77" in cells[25].tip


def test_troubled_devices_come_first_and_a_device_never_asked_is_blank() -> None:
    dropped = [_verdict("b", 2, "drop"), _verdict("c", 1, "drop"), _verdict("c", 2, "drop")]
    verdicts = [_verdict("a", 1), _verdict("b", 1), *dropped]
    found = verdict_map(verdicts, 2, kept_out={}, attackers=["b"])
    assert [device for device, _, _ in found.rows] == ["c", "b", "a"]
    assert found.rows[2][2][1].action == ""
    assert [(f.device, f.role) for f in found.findings] == [("c", "honest"), ("b", "attacker")]


def test_nobody_judged_is_no_map() -> None:
    assert verdict_map([], 5, kept_out={}, attackers=None) is None


def test_a_device_in_quarantine_is_kept_out_not_merely_absent() -> None:
    verdicts = [_verdict("a", 1), _verdict("b", 1, "quarantine"), _verdict("a", 2)]
    found = verdict_map(verdicts, 2, kept_out={1: ["b"], 2: ["b"]}, attackers=None)
    assert [cell.action for cell in found.rows[0][2]] == ["quarantine", "out"]
    assert found.findings[0].times == "1 of 1, first in round 1"
    assert found.counts == (("accept", "accepted", 2), ("quarantine", "put in quarantine", 1), ("out", "kept out", 1))


def test_the_reason_given_is_that_of_the_detector_that_decided() -> None:
    scores = [{"detector": d, "sentence": f"{d} said so"} for d in ("cosine", "norm")]
    verdict = {"device": "a", "round": 1, "action": "drop", "reasons": ["norm"], "scores": scores}
    found = verdict_map([verdict], 1, kept_out={}, attackers=None)
    assert found.findings[0].sentence == "norm said so"
    assert found.rows[0][2][0].tip.endswith("norm said so\ncosine said so")
