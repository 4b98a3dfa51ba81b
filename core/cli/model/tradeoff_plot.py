"""Accuracy against what it costs, as one SVG file that needs nothing else, light or dark as its reader is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

__all__ = ["Kind", "Point", "draw_tradeoff"]

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 80, 40, 84, 60
_LABEL = 15  # pixels that a line of text needs

STYLE = """
svg { background: #fff; color: #1d2733; font: 12px system-ui, sans-serif }
text { fill: currentColor } .dim { opacity: .65 } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: currentColor; opacity: .15 } .limit { stroke: #b3541e; stroke-dasharray: 5 4 }
.way { fill: none; stroke: #1f6f8b; stroke-width: 1.5; opacity: .8 }
circle { stroke: #fff; stroke-width: 1 } .chosen { fill: #c2410c } .front { fill: #1f6f8b } .other { fill: #8aa4c8 }
@media (prefers-color-scheme: dark) {
  svg { background: #12181f; color: #dbe4ee } circle { stroke: #12181f }
  .front { fill: #4fb3d1 } .way { stroke: #4fb3d1 } .other { fill: #5f7796 } .chosen, .limit { fill: #f0894f }
  .limit { stroke: #f0894f }
}
"""


Kind = Literal["chosen", "front", "other"]


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
) -> str:
    """The plot.

    Args:
        title: what is shown.
        note: a line below it.
        points: at least one.
        x_name: what a network costs, with its unit.
        tick: how a cost reads.
        way: points to be joined by a line, in this order.
        limit: a cost that must not be passed.
    """
    from skerry.server.report.plots import nice_ticks

    across = nice_ticks(0.0, max([p.x for p in points] + ([limit] if limit else [])) * 1.05)
    up = nice_ticks(min(p.accuracy for p in points), max(p.accuracy for p in points))

    def place(x: float, accuracy: float) -> tuple[float, float]:
        share_x, share_y = x / across[-1], (accuracy - up[0]) / (up[-1] - up[0])
        return LEFT + share_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share_y * (HEIGHT - TOP - BOTTOM)

    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<style>{STYLE}</style>",
        f"<title>{escape(title)}</title>",
        _text(16, 26, title, "title"),
        _text(16, 46, note, "dim"),
        *_axes(across, up, place, tick),
        _text(WIDTH - RIGHT, HEIGHT - 14, x_name, "dim", "end"),
        _text(LEFT - 8, TOP - 14, "accuracy", "dim", "end"),
    ]
    if limit is not None:
        x, _ = place(limit, up[0])
        body.append(f'<path class="limit" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
        body.append(_text(x + 4, TOP + 10, f"limit {tick(limit)}", "limit"))
    if len(way) > 1:
        line = "L".join("{:.1f},{:.1f}".format(*place(points[i].x, points[i].accuracy)) for i in way)
        body.append(f'<path class="way" d="M{line}"/>')
    body += _dots(points, place)
    return "\n".join([*body, "</svg>", ""])


def _axes(
    across: Sequence[float],
    up: Sequence[float],
    place: Callable[[float, float], tuple[float, float]],
    tick: Callable[[float], str],
) -> Iterator[str]:
    for value in across:
        x, y = place(value, up[0])
        yield f'<path class="grid" d="M{x:.1f},{TOP}V{y:.1f}"/>'
        yield _text(x, y + 18, tick(value), "dim", "middle")
    for value in up:
        x, y = place(0.0, value)
        yield f'<path class="grid" d="M{x:.1f},{y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(x - 8, y + 4, f"{100 * value:g} %", "dim", "end")


def _dots(points: Sequence[Point], place: Callable[[float, float], tuple[float, float]]) -> Iterator[str]:
    """Dots, the chosen one on top; a label moves down until none that is drawn already lies below it."""
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p.kind == "chosen", p.kind == "front")):
        x, y = place(point.x, point.accuracy)
        tip = f"<title>{escape(point.tip)}</title>"
        yield f'<circle class="{point.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{tip}</circle>'
        if not point.label:
            continue
        beside, anchor = (x + 9, "start") if x < WIDTH - 260 else (x - 9, "end")
        at = y + 4
        while any(abs(at - other) < _LABEL and abs(beside - start) < 200 for start, other in taken):
            at += _LABEL
        taken.append((beside, at))
        yield _text(beside, at, point.label, "", anchor)


def _text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(said)}</text>'
