"""The similarity detector: updates so alike that one attacker must have written them all (sybils), or sent again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import smallest_norm
from skerry.security.anomaly.disguise import Disguises, disguises
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import peers
from skerry.security.anomaly.repeats import Repeats

__all__ = ["SIMILARITY_ERROR", "SimilarityDetector"]

Float64Array = npt.NDArray[np.float64]

SIMILARITY_ERROR = 1e-9
"""Bound on the probability that the noise of all honest pairs of a round leaves two of them this near."""

_FLOOR = log(4) / FAR  # least spread assumed: by default a pair is never flagged above a quarter of the usual distance
_FEWEST = 4  # trusted rows, so that every device has three others to be compared with
_LENGTH = 2.0  # a difference in length makes two updates at most this much farther apart than their directions are
_COPY = 1e-4  # distance of copies; two honest devices of one kind of data come so near with 10⁸ examples each
_LEAST = 1e-9  # distance that stands for an exact copy


class SimilarityDetector:
    """The distance of each update to its nearest neighbour; of a group that is too near, one update keeps its vote.

    *With noise* of known std ν an honest update is x_i = s_i + N_i, its noise independent of everything that others
    send. So for any x_j and any number t, ‖x_i - t·x_j‖ is at least the part of N_i across x_j and s_i, and shorter
    than ν·``smallest_norm(d - 2)`` with probability at most ``SIMILARITY_ERROR`` = 10⁻⁹ for all pairs of a round
    together (a union bound). Two updates that are both nearer than that to the other's line are a breach of public
    constants: noise was shared or left out. Both must be, so nothing that a device sends draws an honest one into a
    group.

    *Without noise* (no stated error) distance is that of the updates as they would enter the average, clipped where
    ``norm`` clips, over their mean length; but no more than twice the distance of their directions, so that another
    length does not make a copy another update. (Honest devices with data of one kind and different lengths come near
    in direction alone.) An update is flagged when the distance to its nearest neighbour lies five robust standard
    deviations of its logarithm, each at least log(4)/5, below the other devices': at most a quarter of what is usual.
    Devices that all send nearly the same, as with much data of one kind, are usual to each other and nobody is
    flagged. Updates that are zero have no direction, and no copies. The reverse of an update is no copy: they cancel.

    *Copies under noise of their own* (without privacy noise; no stated error): two updates that differ in directions of
    the other updates by no more than noise does are one update too, however far apart the noise sets them
    (:mod:`skerry.security.anomaly.disguise`). Where the others lie within five times that of a neighbour, as with few
    coordinates, nobody is flagged for it.

    What is alike loses its vote and its device no more, in however many rounds: two honest devices with the same one
    class were at 7 to 24 % of the usual distance in each, and come the nearer the more examples they have. Only a copy,
    the same to 10⁻⁴ of its length, counts against its device. One but for noise does not: two honest devices with
    classes that nobody else has come below that limit too, since what they teach lies across the others, as noise does.

    Groups are the connected pairs that are too near or differ by noise alone. The first device by name keeps its
    place: a group has one vote, not none, since one of them may be honest and copied. Updates are sealed for the
    coordinator, so no other device can copy one in the round in which it is sent.

    *Sent again*: a device's last update once more, bit for bit, is flagged, and a breach where fresh noise was agreed;
    without noise, nobody's where half of the devices do it. A stale update that is changed a little is not seen.

    Cannot see: with privacy noise, sybils that each add 0.71·ν or more of noise of their own. Without it, sybils that
    add something else than noise: updates of their own honest training, combinations of honest updates that they
    know, or noise that adds up to less than they are many (any of them is then a combination of the others). A rule
    meets them as many ordinary attackers, within its ``tolerate``.

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
        around: list[tuple[float, float] | None]
        if context.noise_std > 0:
            apart = _rests(rows)
            limits, around = np.full(len(rows), _noise_limit(rows, context)), [None] * len(rows)
        else:
            apart = _differences(rows)
            around = peers(_logarithms(apart.min(axis=1, initial=np.inf)), trusted & (rows.lengths > 0), _FLOOR)
            limits = np.array([0.0 if pair is None else np.exp(pair[0] - far * pair[1]) for pair in around])
        near = apart < np.minimum(limits[:, None], limits[None, :])
        hidden = None if context.noise_std > 0 else disguises(rows.gram, rows.size)
        group = _groups(near if hidden is None else near | hidden.pairs)
        return [
            _finding(i, devices, float(apart[i].min(initial=np.inf)), float(limits[i]), around[i], group)
            if hidden is None or near[i].any() or len(group[i]) == 1
            else _disguised(i, devices, hidden, group[i])
            for i in range(len(rows))
        ]


def _sent_again(finding: Finding, fresh: bool) -> Finding:
    """The finding on a row that its device has sent before; ``fresh`` where privacy noise should have changed it."""
    why = "the agreed privacy noise is fresh in each round" if fresh else "training moves on, its update does not"
    score = Score("similarity", 0.0, None, None, f"The device's last update again, bit for bit: {why}.")
    return replace(
        finding,
        scores=(*finding.scores, score),
        distance=max(finding.distance, 2 * FAR),
        certain=fresh,
        excusable=False,
    )


def _cosines(rows: Rows) -> Float64Array:
    """``(n, n)``, 0 for updates that are zero.

    From inner products in float64: known to about 10⁻¹⁶, so that distances are to 10⁻⁸, where limits are a tenth.
    """
    lengths = np.sqrt(np.diagonal(rows.gram))
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    found: Float64Array = np.clip(rows.gram * inverse[:, None] * inverse, -1.0, 1.0)
    return found


def _differences(rows: Rows) -> Float64Array:
    """``(n, n)`` distances of the clipped updates over their mean length, at most ``_LENGTH`` times their directions'.

    Infinite on the diagonal.
    """
    cosines, lengths = _cosines(rows), np.sqrt(np.diagonal(rows.gram)) * rows.scales
    one, other = lengths[:, None], lengths
    apart = np.sqrt(np.maximum(one**2 + other**2 - 2 * cosines * one * other, 0.0))
    mean = (one + other) / 2
    relative = np.divide(apart, mean, out=np.full_like(apart, np.inf), where=mean > 0)
    found: Float64Array = np.minimum(relative, _LENGTH * np.sqrt(2 - 2 * cosines))
    np.fill_diagonal(found, np.inf)
    return found


def _rests(rows: Rows) -> Float64Array:
    """``(n, n)`` distances of the longer update of each pair to the other's line, infinite on the diagonal."""
    lengths = np.sqrt(np.diagonal(rows.gram))
    distances: Float64Array = np.maximum(lengths[:, None], lengths) * np.sqrt(1 - _cosines(rows) ** 2)
    np.fill_diagonal(distances, np.inf)
    return distances


def _noise_limit(rows: Rows, context: ScreenContext) -> float:
    ordered_pairs = max(len(rows) * (len(rows) - 1), 1)
    error = SIMILARITY_ERROR / ordered_pairs
    return context.noise_std * smallest_norm(max(rows.size - 2, 0), error, steps=context.steps)


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
    said = _others(index, devices, group)
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
    alike = usual is not None and value > _COPY
    return Finding((score,), distance, certain=usual is None, strangeness=strangeness, excusable=alike)


def _disguised(index: int, devices: Sequence[str], hidden: Disguises, group: list[int]) -> Finding:
    """The finding on a row that is another's copy but for noise."""
    share, said = float(hidden.shares[index].min()), _others(index, devices, group)
    if index == group[0]:
        sentence = f"But for noise the same update as {said}: this one keeps the group's one vote."
        return Finding((Score("similarity", share, None, None, sentence),))
    sentence = (
        f"But for noise the same update as {said}: they differ by {share:.2g} where others point, noise explains "
        f"{hidden.limit:.2g} and {hidden.usual:.2g} is usual. The group has one vote."
    )
    distance = FAR * (1 + log(hidden.limit / max(share, _LEAST)) / log(4))
    return Finding((Score("similarity", share, hidden.limit, None, sentence),), distance, excusable=True)


def _others(index: int, devices: Sequence[str], group: list[int]) -> str:
    """The other devices of a group, the first three by name."""
    others = [devices[i] for i in group if i != index]
    return ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
