"""Accuracy against what it costs, as one SVG file that needs nothing else, light or dark as its reader is."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from xml.sax.saxutils import escape

__all__ = ["Kind", "Point", "draw_tradeoff"]

Kind = Literal["chosen", "front", "other"]
Spot = tuple[float, float]

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 80, 40, 104, 60
_KINDS: tuple[Kind, ...] = ("other", "front", "chosen")  # the last one is drawn on top

STYLE = """
svg { background: #fff; color: #1d2733; font: 12px system-ui, sans-serif }
text { fill: currentColor } .dim { opacity: .7 } .title { font-size: 15px; font-weight: 600 }
.label { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round }
.grid { stroke: currentColor; opacity: .15 } .leader { stroke: currentColor; opacity: .45 }
.limit { stroke: #b3541e; stroke-dasharray: 5 4 } .limit-name { fill: #b3541e }
.way { fill: none; stroke: #1f6f8b; stroke-width: 1.5; opacity: .8 }
circle { stroke: #fff; stroke-width: 1 } .chosen { fill: #c2410c } .front { fill: #1f6f8b } .other { fill: #8aa4c8 }
@media (prefers-color-scheme: dark) {
  svg { background: #12181f; color: #dbe4ee } circle, .label { stroke: #12181f }
  .front { fill: #4fb3d1 } .way { stroke: #4fb3d1 } .other { fill: #5f7796 } .chosen, .limit-name { fill: #f0894f }
  .limit { stroke: #f0894f }
}
"""


@dataclass(frozen=True)
class Point:
    """One network: what it costs, its accuracy between 0 and 1, and what is said of it.

    ``kind`` is its colour; ``label`` stands beside it, ``tip`` appears on hover.
    """

    x: float
    accuracy: float
    label: str
    tip: str
    kind: Kind = "front"


def draw_tradeoff(
    title: str,
    note: str,
    points: Sequence[Point],
    *,
    x_name: str,
    tick: Callable[[float], str],
    way: Sequence[int] = (),
    limit: float | None = None,
    legend: Mapping[Kind, str] = MappingProxyType({}),
) -> str:
    """The plot.

    Args:
        title: what is shown.
        note: a line below it.
        points: at least one.
        x_name: what a network costs.
        tick: how a cost reads, with its unit.
        way: points to be joined by a line, in this order.
        limit: a cost that must not be passed.
        legend: what dots of a kind are; those of which there are some are named.
    """
    from skerry.cli.model.label_places import Box, place_labels

    across, up = _ticks(points, limit)

    def place(x: float, accuracy: float) -> Spot:
        share_x = (x - across[0]) / (across[-1] - across[0])
        share_y = (accuracy - up[0]) / (up[-1] - up[0])
        return LEFT + share_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share_y * (HEIGHT - TOP - BOTTOM)

    spots = {point: place(point.x, point.accuracy) for point in points}
    joined = [place(points[i].x, points[i].accuracy) for i in way]
    lines = list(itertools.pairwise(joined))
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<style>{STYLE}</style>",
        f"<title>{escape(title)}</title>",
        _text(16, 26, title, "title"),
        _text(16, 46, note, "dim"),
        *_legend({kind: said for kind, said in legend.items() if any(p.kind == kind for p in points)}),
        *_axes(across, up, place, tick),
        _text(WIDTH - RIGHT, HEIGHT - 14, x_name, "dim", "end"),
        _text(LEFT - 8, TOP - 14, "accuracy", "dim", "end"),
    ]
    if limit is not None:
        x, _ = place(limit, up[0])
        body.append(f'<path class="limit" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
        body.append(_text(x, TOP - 6, f"limit {tick(limit)}", "limit-name", "middle"))
        lines.append(((x, TOP), (x, HEIGHT - BOTTOM)))
    if len(joined) > 1:
        body.append(f'<path class="way" d="M{"L".join(f"{x:.1f},{y:.1f}" for x, y in joined)}"/>')
    named = sorted((p for p in points if p.label), key=lambda p: -_KINDS.index(p.kind))
    labels = place_labels(
        [p.label for p in named],
        [spots[p] for p in named],
        [spots[p] for p in points if not p.label],
        lines,
        Box(LEFT, TOP, WIDTH - 8, HEIGHT - BOTTOM),
    )
    for point, label in zip(named, labels, strict=True):
        if label.far:
            (x, y), end = spots[point], label.box
            across_to = min(max(x, end.left), end.right)
            down_to = end.bottom if end.bottom < y else end.top
            body.append(f'<path class="leader" d="M{x:.1f},{y:.1f}L{across_to:.1f},{down_to:.1f}"/>')
    for point in sorted(points, key=lambda p: _KINDS.index(p.kind)):
        x, y = spots[point]
        tip = f"<title>{escape(point.tip)}</title>"
        body.append(f'<circle class="{point.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{tip}</circle>')
    body += [_text(label.x, label.y, p.label, "label") for p, label in zip(named, labels, strict=True)]
    return "\n".join([*body, "</svg>", ""])


def _ticks(points: Sequence[Point], limit: float | None) -> tuple[list[float], list[float]]:
    """Round costs and accuracies between which all points lie; costs begin at 0 unless all are far from it."""
    from skerry.server.report.plots import nice_ticks

    costs = [p.x for p in points] + ([] if limit is None else [limit])
    low, high = min(costs), max(costs)
    start = low - 0.15 * (high - low) if len(points) > 1 and low > high / 3 else 0.0
    found = min(p.accuracy for p in points), max(p.accuracy for p in points)
    room = 0.05 * (found[1] - found[0])
    up = nice_ticks(max(0.0, found[0] - room), min(1.0, found[1] + room))
    return nice_ticks(max(0.0, start), high + 0.05 * (high - start)), up


def _legend(said: Mapping[Kind, str]) -> Iterator[str]:
    x = LEFT + 40.0
    for kind in reversed(_KINDS):
        if kind in said:
            yield f'<rect class="{kind}" x="{x - 5:.1f}" y="61" width="10" height="10" rx="5"/>'
            yield _text(x + 10, 70, said[kind], "dim")
            x += 36 + 6.2 * len(said[kind])


def _axes(
    across: Sequence[float],
    up: Sequence[float],
    place: Callable[[float, float], Spot],
    tick: Callable[[float], str],
) -> Iterator[str]:
    for value in across:
        x, y = place(value, up[0])
        yield f'<path class="grid" d="M{x:.1f},{TOP}V{y:.1f}"/>'
        yield _text(x, y + 18, tick(value), "dim", "middle")
    for value in up:
        x, y = place(across[0], value)
        yield f'<path class="grid" d="M{x:.1f},{y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(x - 8, y + 4, f"{100 * value:g} %", "dim", "end")


def _text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(said)}</text>'
