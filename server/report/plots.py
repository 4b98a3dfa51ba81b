"""Plots as geometry: a template draws them as stretched SVG with HTML labels, so that text stays sharp at any width.

Coordinates run from 0 to 1000 on both axes, y downwards. Every plot carries its figures as a table as well, and a
sentence for each round, shown on hover, focus or touch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Column", "Line", "Plot", "Tick", "column_plot", "line_plot", "nice_ticks"]

SPAN = 1000.0


@dataclass(frozen=True)
class Tick:
    """A label on an axis; ``at`` is its place in percent from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series; ``values[i]`` belongs to ``xs[i]`` of the plot, None leaves a gap.

    ``kind`` is its colour's class; ``legend`` is empty for a line that is part of a bundle.
    """

    name: str
    kind: str
    values: tuple[float | None, ...]
    legend: str = ""
    path: str = ""
    end: str = ""


@dataclass(frozen=True)
class Column:
    """The slice of a plot that belongs to one x: where it can be pointed at, what it says, and its bars."""

    x: float
    width: float
    tip: str
    bars: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class Plot:
    """A plot ready to be drawn, and the same figures as a table."""

    id: str
    title: str
    x_name: str
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    legend: tuple[tuple[str, str, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover ``low`` to ``high``: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if high - low < 1e-6:  # a flat line lies in the middle
        low, high = (max(0.0, low - 0.05) if low >= 0 else low - 0.05), high + 0.05
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, last + 1)]


def line_plot(
    plot_id: str,
    title: str,
    xs: Sequence[int],
    lines: Sequence[Line],
    show: Callable[[float], str],
    *,
    tick: Callable[[float], str],
    from_zero: bool = False,
    x_name: str = "round",
    told: Sequence[Line] | None = None,
    marked: Sequence[int] | None = None,
) -> Plot:
    """Lines over rounds.

    Args:
        plot_id: the element's id in the page.
        title: what the plot shows.
        xs: round of each value, rising.
        lines: the series to draw.
        show: how a value reads.
        tick: how a round number reads on the axis.
        from_zero: whether the vertical axis starts at 0.
        x_name: what ``xs`` counts.
        told: the series of the table and of the sentences, when they are not the drawn ones.
        marked: where the horizontal axis has a label, when not at round values of ``xs``.
    """
    seen = [v for line in lines for v in line.values if v is not None] or [0.0, 1.0]
    ticks = nice_ticks(0.0 if from_zero else min(seen), max(seen))
    low, high = ticks[0], ticks[-1]
    span = max(1, xs[-1] - xs[0])

    def place(i: int, value: float) -> tuple[float, float]:
        return SPAN * (xs[i] - xs[0]) / span, SPAN * (1 - (value - low) / (high - low))

    drawn = tuple(_drawn(line, place) for line in lines)
    told = list(lines if told is None else told)
    columns = []
    for i, x in enumerate(xs):
        left = SPAN * max(0.0, (x - xs[0] - 0.5) / span)
        right = SPAN * min(1.0, (x - xs[0] + 0.5) / span)
        said = [f"{line.name}: {show(v)}" for line in told if (v := line.values[i]) is not None]
        columns.append(Column(left, right - left, "\n".join([f"{x_name} {x}".capitalize(), *said])))
    return Plot(
        id=plot_id,
        title=title,
        x_name=x_name,
        lines=drawn,
        columns=tuple(columns),
        x_ticks=tuple(Tick(100 * (x - xs[0]) / span, str(x)) for x in marked)
        if marked is not None
        else _x_ticks(xs, lambda x: 100 * (x - xs[0]) / span),
        y_ticks=tuple(Tick(100 * (1 - (t - low) / (high - low)), tick(t)) for t in ticks),
        legend=tuple((line.kind, line.name, line.legend) for line in told if line.legend),
        header=(x_name, *(line.name for line in told)),
        rows=tuple(
            (str(x), *("" if line.values[i] is None else show(line.values[i] or 0.0) for line in told))
            for i, x in enumerate(xs)
        ),
    )


def column_plot(
    plot_id: str,
    title: str,
    xs: Sequence[int],
    stacks: Sequence[tuple[str, str, Sequence[float], str]],
    show: Callable[[float], str],
    *,
    tick: Callable[[float], str],
    x_name: str = "round",
) -> Plot:
    """Stacked columns over rounds; each of ``stacks`` is ``(kind, name, values, legend)``, bottom first."""
    totals = [sum(values[i] for _, _, values, _ in stacks) for i in range(len(xs))]
    ticks = nice_ticks(0.0, max(totals, default=1.0) or 1.0, 4)
    wide = SPAN / len(xs)
    columns = []
    for i, x in enumerate(xs):
        bars, top = [], SPAN
        for kind, _, values, _ in stacks:
            height = SPAN * values[i] / ticks[-1]
            top -= height
            bars.append((kind, round(top, 1), round(height, 1)))
        said = [f"{name}: {show(values[i])}" for _, name, values, _ in stacks]
        columns.append(Column(wide * i, wide, "\n".join([f"{x_name} {x}".capitalize(), *said]), tuple(bars)))
    return Plot(
        id=plot_id,
        title=title,
        x_name=x_name,
        lines=(),
        columns=tuple(columns),
        x_ticks=_x_ticks(xs, lambda x: 100 * (xs.index(x) + 0.5) / len(xs)),
        y_ticks=tuple(Tick(100 * (1 - t / ticks[-1]), tick(t)) for t in ticks),
        legend=tuple((kind, name, legend) for kind, name, _, legend in stacks),
        header=(x_name, *(name for _, name, _, _ in stacks)),
        rows=tuple((str(x), *(show(values[i]) for _, _, values, _ in stacks)) for i, x in enumerate(xs)),
    )


def _drawn(line: Line, place: Callable[[int, float], tuple[float, float]]) -> Line:
    parts: list[str] = []
    pen_down, end = False, ""
    for i, value in enumerate(line.values):
        if value is None:
            pen_down = False
            continue
        x, y = place(i, value)
        parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down, end = True, f"M{x:.1f} {y:.1f}h0"
    return Line(line.name, line.kind, line.values, line.legend, "".join(parts), end)


def _x_ticks(xs: Sequence[int], at: Callable[[int], float]) -> tuple[Tick, ...]:
    every = max(1, round(nice_ticks(0, max(1, xs[-1] - xs[0]), 5)[1]))
    chosen = [x for x in xs if x % every == 0 or x == xs[0]]
    if len(chosen) > 1 and chosen[1] - chosen[0] < every / 2:
        chosen.pop(1)
    if xs[-1] - chosen[-1] >= every / 2:
        chosen.append(xs[-1])
    return tuple(Tick(at(x), str(x)) for x in chosen)
