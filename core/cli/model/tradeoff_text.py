"""Accuracy against what it costs, drawn with letters for a terminal."""

from collections.abc import Callable, Sequence

from skerry.cli.model.tradeoff_plot import Point

__all__ = ["MARKS", "tradeoff_lines"]

MARKS = {"chosen": "●", "front": "○", "other": "·"}
WIDTH, HEIGHT = 60, 12


def tradeoff_lines(points: Sequence[Point], *, tick: Callable[[float], str], limit: float | None = None) -> list[str]:
    """The plot's lines, axes included.

    Args:
        points: at least one.
        tick: how a cost reads.
        limit: a cost that must not be passed: a dotted line.
    """
    far = max([p.x for p in points] + ([limit] if limit is not None else [])) * 1.02
    low, high = min(p.accuracy for p in points), max(p.accuracy for p in points)
    span = max(high - low, 0.01)
    cells = [[" "] * (WIDTH + 1) for _ in range(HEIGHT + 1)]

    def column(x: float) -> int:
        return round(x / far * WIDTH)

    if limit is not None:
        for row in cells:
            row[column(limit)] = "┊"
    for point in sorted(points, key=lambda p: (p.kind == "chosen", p.kind == "front")):
        cells[round((high - point.accuracy) / span * HEIGHT)][column(point.x)] = MARKS[point.kind]
    lines = []
    for i, row in enumerate(cells):
        named = f"{100 * (high - span * i / HEIGHT):5.1f} %" if i % 4 == 0 else " " * 7
        lines.append(f"{named} │{''.join(row).rstrip()}")
    lines.append(f"{'':7} └{'─' * (WIDTH + 1)}")
    labels = [" "] * (WIDTH + 16)
    for share in (0.0, 0.5, 1.0):
        text = tick(share * far)
        at = round(share * WIDTH)
        labels[at : at + len(text)] = text
    lines.append(f"{'':9}{''.join(labels).rstrip()}")
    return lines
