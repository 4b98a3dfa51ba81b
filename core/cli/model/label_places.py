"""Where the labels of a scatter plot go: near their dots, clear of dots, lines and each other where there is room."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Label", "place_labels"]

Spot = tuple[float, float]
_LETTER = 6.7  # pixels of a letter of the plot's 12 px text, on the wide side
_ABOVE, _BELOW = 10.0, 4.0  # from a line of text's base
_CLEAR = 9.0  # from a dot's middle to its label
_DOT = 6.0
_ON_LABEL, _ON_DOT, _ON_LINE = 1000.0, 30.0, 4.0  # what it costs to cover one; a pixel of distance costs 0.05
_STEP = 15.0
_RINGS = 8


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share more than an edge."""
        apart = self.right <= other.left or other.right <= self.left
        return not apart and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: "Box") -> bool:
        """Whether the other one lies inside."""
        wide = self.left <= other.left and other.right <= self.right
        return wide and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Label:
    """A placed text: where its base begins and the rectangle that it takes; ``far`` when a thin line should join it to
    its dot.
    """

    x: float
    y: float
    box: Box
    far: bool


def place_labels(
    texts: Sequence[str], dots: Sequence[Spot], others: Sequence[Spot], lines: Sequence[tuple[Spot, Spot]], within: Box
) -> tuple[Label, ...]:
    """A place for each text, one after another: the first ones get the best places.

    Args:
        texts: one for each dot.
        dots: those that have a label.
        others: dots without one.
        lines: from spot to spot.
        within: no label leaves this.
    """
    round_dots = [Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in (*dots, *others)]
    placed: list[Label] = []
    for text, dot in zip(texts, dots, strict=True):
        best, least = None, math.inf
        for label, distance in _places(text, dot):
            if not within.holds(label.box):
                continue
            cost = distance + _ON_LABEL * sum(label.box.meets(other.box) for other in placed)
            cost += _ON_DOT * sum(label.box.meets(other) for other in round_dots)
            cost += _ON_LINE * sum(_crosses(label.box, *line) for line in lines)
            if cost < least:
                best, least = label, cost
        # A text longer than the plot fits nowhere: it begins beside its dot all the same.
        placed.append(best or next(_places(text, dot))[0])
    return tuple(placed)


def _places(text: str, dot: Spot) -> Iterator[tuple[Label, float]]:
    """To the right, to the left, above and below, then further and further up and down; and what each costs."""
    wide = _LETTER * len(text)
    right, left, middle = dot[0] + _CLEAR, dot[0] - _CLEAR - wide, dot[0] - wide / 2
    base = dot[1] + _BELOW
    spots = [(right, base), (left, base), (middle, base - _STEP), (middle, base + _STEP)]
    for ring in range(1, _RINGS):
        spots += [(x, base + sign * ring * _STEP) for sign in (-1, 1) for x in (right, left)]
    for order, (x, y) in enumerate(spots):
        away = abs(y - base)
        box = Box(x - 2, y - _ABOVE, x + wide + 2, y + _BELOW)
        yield Label(x, y, box, far=away > _STEP), 0.05 * away + 0.01 * order


def _crosses(box: Box, a: Spot, b: Spot) -> bool:
    """Whether a line from ``a`` to ``b`` runs through the box (Liang & Barsky's clipping)."""
    enter, leave = 0.0, 1.0
    for start, end, low, high in ((a[0], b[0], box.left, box.right), (a[1], b[1], box.top, box.bottom)):
        if start == end:
            if not low < start < high:
                return False
            continue
        first, last = sorted(((low - start) / (end - start), (high - start) / (end - start)))
        enter, leave = max(enter, first), min(leave, last)
    return enter < leave
