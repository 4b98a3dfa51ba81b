"""The plot of ``skerry privacy show``: ε by round of each device as one SVG file, light or dark as its reader is."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["BOTTOM", "HEIGHT", "LEFT", "RIGHT", "STYLE", "TOP", "WIDTH", "Curve", "draw", "text"]

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 72, 52

STYLE = """
svg { background: #fff; color: #1d2733; font: 12px system-ui, sans-serif }
text { fill: currentColor } .dim { opacity: .65 } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: currentColor; opacity: .15 } .budget { stroke: #b3541e; stroke-dasharray: 5 4 }
polyline { fill: none; stroke: #1f6f8b; stroke-width: 1.5; opacity: .7 }
@media (prefers-color-scheme: dark) {
  svg { background: #12181f; color: #dbe4ee } polyline { stroke: #4fb3d1 } .budget { stroke: #e08a4f }
}
"""


@dataclass(frozen=True)
class Curve:
    """ε of one device after each of its debits, and what it may spend."""

    name: str
    epsilon: tuple[float, ...]
    budget: float | None


def draw(title: str, curves: Sequence[Curve], qualified: str) -> str:
    """One step line for each device, and each budget as a dashed line; infinite ε leave the plot at its top."""
    from skerry.server.report.plots import nice_ticks

    budgets = sorted({curve.budget for curve in curves if curve.budget is not None})
    finite = [value for curve in curves for value in curve.epsilon if math.isfinite(value)]
    top = max([*finite, *budgets, 1e-3]) * 1.05
    last = max((len(curve.epsilon) for curve in curves), default=1) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / last, TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(y, top) / top)

    body: list[str] = [
        f"<title>{escape(title)}: privacy spent by round</title>",
        text(16, 26, f"Privacy spent in {title}", "title"),
        text(16, 46, qualified, "dim"),
    ]
    for tick in nice_ticks(0.0, top):
        if tick <= top:
            y = at(0, tick)[1]
            body.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
            body.append(text(LEFT - 8, y + 4, f"{tick:g}", "dim", "end"))
    rounds = sorted({round(tick) for tick in nice_ticks(0.0, last) if tick <= last})
    body.extend(text(at(n, 0)[0], HEIGHT - BOTTOM + 18, str(n), "dim", "middle") for n in rounds)
    body.append(text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 12, "participations", "dim", "middle"))
    for budget in budgets:
        y = at(0, budget)[1]
        body.append(f'<path class="budget" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(text(WIDTH - RIGHT + 6, y - 6, f"budget {budget:g}", ""))
    body.extend(_lines(curves, at))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([opening, f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _lines(curves: Sequence[Curve], at: Callable[[float, float], tuple[float, float]]) -> Iterator[str]:
    """Devices whose lines are the same share one label."""
    ends: dict[tuple[float, ...], list[str]] = {}
    for curve in curves:
        ends.setdefault(curve.epsilon, []).append(curve.name)
    free = float(HEIGHT)
    for epsilon, names in sorted(ends.items(), key=lambda item: item[0][-1:] or (0.0,)):
        steps = [at(0, 0)]
        for i, value in enumerate(epsilon):
            steps += [(at(i + 1, 0)[0], steps[-1][1]), at(i + 1, value)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
        yield f'<polyline points="{points}"><title>{escape(", ".join(names))}</title></polyline>'
        label = names[0] if len(names) == 1 else f"{len(names)} devices"
        free = min(free - 14, steps[-1][1] + 12)
        yield text(steps[-1][0] + 6, free, label, "")


def text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> str:
    """One line of text; ``kind`` is a class of :data:`STYLE`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(said)}</text>'
