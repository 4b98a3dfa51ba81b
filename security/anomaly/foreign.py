"""The foreign detector: updates that go where no other device's update goes, as random directions do."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.evidence import FAR, GRAVE, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.span import noise_share, shares_in_span

__all__ = ["ForeignDetector"]

Float64Array = npt.NDArray[np.float64]

_FOREIGN = 0.05  # of the usual share, at most; the lab's noise has 0.3 % and less, three examples a seventh and more
_SPEAKS = 0.3  # a usual share below which nothing can be said: little of honest updates lies in each other's span
_FEWEST = 3  # rows that make the span


class ForeignDetector:
    """How much of each update lies in the span of the *other* devices' updates.

    **Assumption**: whole networks are trained (``ScreenContext.whole``). Then training on data of one task moves layers
    that others' training moves too, whatever the labels and however few the examples: 13 % and more of the squared
    length of an update of three examples lies in the span of fourteen others in the lab. Of a random direction it is
    about as many d-ths as there are devices. Elsewhere nothing is judged: in a head each class has a row of its own,
    and of the updates of an honest device that was alone with a class 0.5 % lay in the others' span.

    *Relative to the others* (no stated error of its own): flagged below a twentieth of the others' median share, where
    that share is at least 0.3, if it is no more than noise has either
    (:func:`~skerry.security.anomaly.span.noise_share`). No learned limit moves it.

    **With privacy noise** nothing is judged: noise is foreign, and of the agreed length.

    Rows that ``norm`` calls too long, or an earlier detector flags, are judged, but do not make the span.

    Cannot see: an update of which one part in a hundred is training; hostile updates in directions of others;
    two that share a direction of their own, each of which is in the other's span.
    """

    name: ClassVar[str] = "foreign"
    reason: ClassVar[Reason] = Reason.FOREIGN

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row."""
        del devices, far
        positive = rows.lengths > 0
        members = trusted & positive
        if context.noise_std > 0:
            return [_unjudged("privacy noise goes everywhere")] * len(rows)
        if not context.whole:
            return [_unjudged("where a head is trained, an honest device may be alone with a class")] * len(rows)
        if members.sum() <= _FEWEST:
            return [_unjudged(f"{int(members.sum())} usable updates are too few")] * len(rows)
        shares = np.zeros(len(rows))
        shares[positive] = shares_in_span(rows.gram[np.ix_(positive, positive)], members[positive])
        usual = float(np.median(shares[members]))
        limit = min(_FOREIGN * usual, noise_share(int(members.sum()) - 1, rows.size))
        return [
            _judge(float(share), usual, limit) if moved else _unjudged("it is zero")
            for share, moved in zip(shares, positive, strict=True)
        ]

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Nothing: each round is judged by itself."""

    def state(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def _judge(share: float, usual: float, limit: float) -> Finding:
    if usual < _SPEAKS:
        sentence = (
            f"{share:.1%} of it lies in directions of other updates; {usual:.0%} is usual, too little to judge by."
        )
        return Finding((Score("foreign", share, None, None, sentence),))
    sentence = f"{share:.1%} of it lies in directions of other updates, {usual:.0%} is usual."
    return Finding((Score("foreign", share, limit, None, sentence),), distance=2 * GRAVE if share < limit else 0.0)


def _unjudged(why: str) -> Finding:
    return Finding((Score("foreign", 0.0, None, None, f"Not compared with directions of other updates: {why}."),))
