"""The plot of ``skerry fleet plan``: durations of steps, who the answers came from, and how the model learns."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skerry.cli.spent_plot import STYLE, text

if TYPE_CHECKING:
    from skerry.server.fleet_plan import PlannedPolicy, Wish

__all__ = ["draw"]

_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 900, 240, 70, 80, 56
_COLOURS = ("#1f6f8b", "#b3541e", "#4a7f3f")


def draw(wish: "Wish", found: "Sequence[PlannedPolicy]") -> str:
    """One SVG file, light or dark as its reader is."""
    fleet = f"{wish.phones:,} {wish.profile.name}, seed {wish.seed}"
    said = f"{fleet}; {wish.answers:,} answers, from {wish.start_h:g} o'clock"
    body = [
        "<title>Rounds and a buffer on a simulated fleet</title>",
        text(16, 26, "Rounds and a buffer on a simulated fleet, in virtual time", "title"),
        text(16, 46, said, "dim"),
    ]
    for number, one in enumerate(found):
        x = _LEFT + 270 * number
        body.append(f'<rect x="{x}" y="56" width="12" height="12" fill="{_COLOURS[number]}"/>')
        body.append(text(x + 18, 66, one.figures.name, ""))
    panels = [_durations(found, _TOP), _classes(wish, found, _TOP + _PANEL + _GAP)]
    if found[0].points:
        panels.append(_learning(found, _TOP + 2 * (_PANEL + _GAP)))
    height = _TOP + len(panels) * (_PANEL + _GAP)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    drawn = [line for panel in panels for line in panel]
    return "\n".join([opening, f"<style>{STYLE}</style>", *body, *drawn, "</svg>", ""])


def _durations(found: "Sequence[PlannedPolicy]", top: float) -> list[str]:
    """Share of steps that took at most so long, seconds on a logarithmic scale."""
    every = sorted(value for one in found for value in one.figures.durations)
    low, high = math.log10(max(every[0], 0.1)), math.log10(max(every[-1], 1.0)) + 0.05
    lines = _frame(top, "share of steps that took at most so long (seconds)")
    for power in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 3):
            value = math.log10(digit) + power
            if low <= value <= high:
                x = _x((value - low) / (high - low))
                lines.append(text(x, top + _PANEL + 18, f"{10**value:.3g}", "dim", "middle"))
    for number, one in enumerate(found):
        values = sorted(one.figures.durations)
        points = [
            ((math.log10(max(value, 0.1)) - low) / (high - low), (rank + 1) / len(values))
            for rank, value in enumerate(values)
        ]
        lines.append(_curve([(points[0][0], 0.0), *points, (1.0, 1.0)], number, top))
    return lines


def _classes(wish: "Wish", found: "Sequence[PlannedPolicy]", top: float) -> list[str]:
    """Share of answers over share of phone-hours in which a class may work: 1 is fair."""
    ratios = [[row.of_answers / row.of_ready if row.of_ready else 0.0 for row in one.figures.classes] for one in found]
    highest = max(1.2, *(value for row in ratios for value in row)) * 1.05
    said = "answers by class, over its share of the hours in which phones may work (1 is fair)"
    lines = _frame(top, said, labels=False)
    lines.append(f'<path class="budget" d="M{_LEFT},{_y(1 / highest, top):.1f}H{_WIDTH - 30}"/>')
    lines.append(text(_LEFT - 8, _y(1 / highest, top) + 4, "1", "dim", "end"))
    slot = (_WIDTH - 30 - _LEFT) / len(wish.profile.classes)
    for place, kind in enumerate(wish.profile.classes):
        lines.append(text(_LEFT + slot * (place + 0.5), top + _PANEL + 18, kind.name, "dim", "middle"))
        for number, row in enumerate(ratios):
            x, y = _LEFT + slot * place + slot * (0.15 + 0.24 * number), _y(row[place] / highest, top)
            told = f"<title>{found[number].figures.name}, {kind.name}: {row[place]:.2f}</title>"
            shape = f'x="{x:.1f}" y="{y:.1f}" width="{slot * 0.2:.1f}" height="{top + _PANEL - y:.1f}"'
            lines.append(f'<rect {shape} fill="{_COLOURS[number]}">{told}</rect>')
    return lines


def _learning(found: "Sequence[PlannedPolicy]", top: float) -> list[str]:
    """Accuracy over hours."""
    longest = max(point.seconds for one in found for point in one.points)
    lines = _frame(top, f"held-out accuracy over {longest / 3600:.1f} hours")
    for number, one in enumerate(found):
        lines.append(_curve([(point.seconds / longest, point.accuracy) for point in one.points], number, top))
    return lines


def _frame(top: float, said: str, *, labels: bool = True) -> list[str]:
    lines = [text(_LEFT, top + 14, said, "dim")]
    for share in (0, 0.25, 0.5, 0.75, 1) if labels else (0,):
        lines.append(f'<path class="grid" d="M{_LEFT},{_y(share, top):.1f}H{_WIDTH - 30}"/>')
        lines.append(text(_LEFT - 8, _y(share, top) + 4, f"{100 * share:g} %" if labels else "0", "dim", "end"))
    return lines


def _curve(points: list[tuple[float, float]], number: int, top: float) -> str:
    drawn = " ".join(f"{_x(x):.1f},{_y(y, top):.1f}" for x, y in points)
    return f'<polyline points="{drawn}" style="stroke:{_COLOURS[number]}"/>'


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - 30 - _LEFT) * share


def _y(share: float, top: float) -> float:
    return top + _PANEL - (_PANEL - 26) * share
