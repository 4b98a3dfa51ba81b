"""The plot of ``skerry privacy plan``: accuracy over ε at the best clip, from a pilot on public data."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skerry.cli.spent_plot import BOTTOM, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH, text

if TYPE_CHECKING:
    from skerry.security.privacy.planning import Wish
    from skerry.server.pilot import Point

__all__ = ["draw"]


def draw(wish: "Wish", points: "Sequence[Point]") -> str:
    """Accuracy over ε (logarithmic), with the accuracy without noise as a dashed line; other clips as single dots."""
    from skerry.server.report.plots import nice_ticks

    private = [point for point in points if point.epsilon is not None]
    low, high = min(p.epsilon or 0 for p in private), max(p.epsilon or 0 for p in private)
    ticks = [tick for tick in nice_ticks(0.0, 1.0) if tick <= 1]

    def x(epsilon: float) -> float:
        share = math.log(epsilon / low) / math.log(high / low) if high > low else 0.5
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(accuracy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - accuracy)

    clip = next(p.clip for p in private if p.epsilon != wish.epsilon)
    curve = sorted((p for p in private if p.clip == clip), key=lambda p: p.epsilon or 0)
    said = f"{wish.rounds} rounds, {wish.cohort} of {wish.devices} devices in each; δ = {wish.delta:g}, per {wish.unit}"
    body = [
        "<title>Accuracy over ε, measured on public data</title>",
        text(16, 26, "Accuracy over ε, measured on public data", "title"),
        text(16, 46, f"{said}, add/remove; clip {clip:.3g}", "dim"),
    ]
    for tick in ticks:
        body.append(f'<path class="grid" d="M{LEFT},{y(tick):.1f}H{WIDTH - RIGHT}"/>')
        body.append(text(LEFT - 8, y(tick) + 4, f"{100 * tick:g} %", "dim", "end"))
    for point in points:
        if point.epsilon is None:
            body.append(f'<path class="budget" d="M{LEFT},{y(point.accuracy):.1f}H{WIDTH - RIGHT}"/>')
            body.append(text(WIDTH - RIGHT + 6, y(point.accuracy) + 4, "no noise", ""))
    line = " ".join(f"{x(p.epsilon or 1):.1f},{y(p.accuracy):.1f}" for p in curve)
    body.append(f'<polyline points="{line}"/>')
    for point in private:
        epsilon = point.epsilon or 1
        told = f"ε {epsilon:g}, clip {point.clip:.3g}: {100 * point.accuracy:.1f} %"
        dot = f'<circle cx="{x(epsilon):.1f}" cy="{y(point.accuracy):.1f}" r="4" fill="currentColor" opacity=".7">'
        body.append(f"{dot}<title>{told}</title></circle>")
    body.extend(text(x(p.epsilon or 1), HEIGHT - BOTTOM + 18, f"{p.epsilon:g}", "dim", "middle") for p in curve)
    body.append(text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 12, "ε", "dim", "middle"))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([opening, f"<style>{STYLE}</style>", *body, "</svg>", ""])
