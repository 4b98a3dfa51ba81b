"""The similarity detector: updates so alike that one attacker must have written them all (sybils), or sent again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log, sqrt
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import smallest_norm
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import peers
from skerry.security.anomaly.repeats import Repeats

__all__ = ["SIMILARITY_ERROR", "SimilarityDetector"]

Float64Array = npt.NDArray[np.float64]

SIMILARITY_ERROR = 1e-9
"""Bound on the probability that the noise of all honest pairs of a round leaves two of them this near."""

_FLOOR = log(4) / FAR  # least spread assumed: by default a pair is never flagged above a quarter of the usual distance
_FEWEST = 4  # trusted rows, so that every device has three others to be compared with
_LEAST = 1e-9  # distance that stands for an exact copy


class SimilarityDetector:
    """The distance of each update to its nearest neighbour; of a group that is too near, one update keeps its vote.

    *With noise* of known std ν two honest updates differ at least by their independent noise: x_i - x_j has noise of
    std √2·ν, whatever the signals are, and is shorter than √2·ν·``smallest_norm(d)`` with probability at most
    ``SIMILARITY_ERROR`` = 10⁻⁹ for all pairs of a round together (a union bound). A nearer pair is a breach of public
    constants: noise was shared or left out.

    *Without noise* (no stated error) distance is measured in the pair's mean length, and an update is flagged when
    that to its nearest neighbour lies five robust standard deviations of its logarithm, each at least log(4)/5, below
    the other devices': at most a quarter of what is usual. Devices that all send nearly the same, as with much data
    of one kind, are usual to each other and nobody is flagged.

    Groups are the connected pairs that are too near. The first device by name keeps its place: a group has one vote,
    not none, since one of them may be honest and copied. Updates are sealed for the coordinator, so no other
    device can copy one in the round in which it is sent.

    *Sent again*: a device's last update once more, bit for bit, is flagged, and a breach where fresh noise was agreed;
    without noise, nobody's where half of the devices do it. A stale update that is changed a little is not seen.

    Cannot see: sybils that each add as much noise of their own as honest devices differ by. That noise averages out
    in a mean; a rule meets it as many ordinary attackers, within its ``tolerate``.

    Reference for the idea: Fung, Yoon and Beschastnikh 2020, "The Limitations of Federated Learning in Sybil Settings"
    (arXiv:1808.04866), which lowers weights instead, also of honest devices with the same classes.
    """

    name: ClassVar[str] = "similarity"
    reason: ClassVar[Reason] = Reason.SIMILARITY

    def __init__(self) -> None:
        self._repeats = Repeats()

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row; also remembers what was sent.

        Rows that an earlier detector flagged are compared too, but say not what is usual.
        """
        again = self._repeats.found(rows.values, devices)
        found = self._compare(rows, devices, trusted, context, far)
        fresh = context.noise_std > 0
        return [_sent_again(one, fresh) if same else one for one, same in zip(found, again, strict=True)]

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Nothing more than :meth:`examine` remembers."""

    def state(self) -> dict[str, Any]:
        """A digest of each device's last update."""
        return self._repeats.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._repeats.restore(state)

    def _compare(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float
    ) -> list[Finding]:
        count = int(trusted.sum())
        if context.noise_std == 0 and count < _FEWEST:
            sentence = f"Not compared with others: {count} usable updates are too few to say what is usual."
            return [Finding((Score(self.name, 0.0, None, None, sentence),)) for _ in devices]
        apart, sizes = _distances(rows)
        if context.noise_std > 0:
            limits, scores = np.full(len(rows), _noise_limit(rows, context)), apart
            around: list[tuple[float, float] | None] = [None] * len(rows)
        else:
            scores = np.divide(apart, sizes, out=np.full_like(apart, np.inf), where=sizes > 0)
            around = peers(_logarithms(scores.min(axis=1, initial=np.inf)), trusted, _FLOOR)
            limits = np.array([0.0 if pair is None else np.exp(pair[0] - far * pair[1]) for pair in around])
        near = scores < np.minimum(limits[:, None], limits[None, :])
        group = _groups(near)
        return [
            _finding(i, devices, float(scores[i].min(initial=np.inf)), float(limits[i]), around[i], group)
            for i in range(len(rows))
        ]


def _sent_again(finding: Finding, fresh: bool) -> Finding:
    """The finding on a row that its device has sent before; ``fresh`` where privacy noise should have changed it."""
    why = "the agreed privacy noise is fresh in each round" if fresh else "training moves on, its update does not"
    score = Score("similarity", 0.0, None, None, f"The device's last update again, bit for bit: {why}.")
    return replace(finding, scores=(*finding.scores, score), distance=max(finding.distance, 2 * FAR), certain=fresh)


def _distances(rows: Rows) -> tuple[Float64Array, Float64Array]:
    """``(n, n)`` distances, infinite on the diagonal, and mean lengths of the pairs.

    From inner products in float64: a distance is known to about 10⁻⁸ of the lengths, where limits are a tenth.
    """
    products = rows.gram
    lengths = np.diagonal(products)
    distances = np.sqrt(np.maximum(lengths[:, None] + lengths[None, :] - 2 * products, 0.0))
    np.fill_diagonal(distances, np.inf)
    lengths = np.sqrt(lengths)
    return distances, (lengths[:, None] + lengths[None, :]) / 2


def _noise_limit(rows: Rows, context: ScreenContext) -> float:
    pairs = max(len(rows) * (len(rows) - 1) // 2, 1)
    error = SIMILARITY_ERROR / pairs
    return sqrt(2) * context.noise_std * smallest_norm(rows.size, error, steps=context.steps)


def _logarithms(distances: npt.ArrayLike) -> Float64Array:
    logs: Float64Array = np.log(np.clip(np.asarray(distances, np.float64), _LEAST, 1e9))
    return logs


def _groups(near: npt.NDArray[np.bool_]) -> list[list[int]]:
    """The rows that are connected by near pairs with each row, itself included, ascending."""
    found: list[list[int]] = [[] for _ in near]
    for begin in range(len(near)):
        if found[begin]:
            continue
        members, todo = {begin}, [begin]
        while todo:
            fresh = set(np.flatnonzero(near[todo.pop()]).tolist()) - members
            members |= fresh
            todo.extend(fresh)
        for member in members:
            found[member] = sorted(members)
    return found


def _finding(
    index: int,
    devices: Sequence[str],
    value: float,
    limit: float,
    usual: tuple[float, float] | None,
    groups: list[list[int]],
) -> Finding:
    """One row's finding; ``usual`` is what the others' logarithms are, None where the limit follows from the noise."""
    group = groups[index]
    shown = value if np.isfinite(value) else 0.0
    strangeness = None if usual is None else (usual[0] - float(_logarithms(value))) / usual[1]
    if len(group) == 1:
        sentence = f"Distance {shown:.3g} to the nearest other update is nothing unusual."
        # Below its own limit where the neighbour's decided, or where there is no neighbour.
        decides = limit if 0 < limit <= shown else None
        return Finding((Score("similarity", shown, decides, None, sentence),), strangeness=strangeness)
    others = [devices[i] for i in group if i != index]
    said = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    if index == group[0]:
        sentence = f"Nearly the same update as {said}: this one keeps the group's one vote."
        return Finding((Score("similarity", shown, None, None, sentence),), strangeness=strangeness)
    if usual is None or strangeness is None:
        why = f"the agreed privacy noise keeps honest updates at least {limit:.3g} apart"
        distance = FAR * log(limit / max(value, _LEAST)) / log(4) + FAR
    else:
        why, distance = f"{np.exp(usual[0]):.3g} is usual among the others", strangeness
    sentence = f"Nearly the same update as {said}: distance {shown:.3g}, {why}. The group has one vote."
    score = Score("similarity", shown, limit, None, sentence)
    return Finding((score,), distance, certain=usual is None, strangeness=strangeness)
