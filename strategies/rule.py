"""What an aggregation rule is, and how a scenario's text becomes one."""

import difflib
from typing import Protocol

from skerry.errors import ScenarioError
from skerry.records import Float32Array
from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.nnm import NearestNeighbourMixing
from skerry.strategies.trimmed_mean import TrimmedMean

__all__ = ["RULES", "Rule", "parse_rule"]

RULES = ("mean", "median", "trimmed_mean", "nnm+mean", "nnm+median", "nnm+trimmed_mean")
"""What ``defence.aggregator`` may say."""


class Rule(Protocol):
    """A function of the set of updates, with the number of updates that its guarantee needs.

    Every rule: checks first that all rows are finite; never changes its input; weighs devices alike (there is
    no argument for a weight, so nothing that a device claims about itself can give it more); is deterministic;
    gives the same result for any order of the rows, up to the last bits and the stated tie rule. Callers sort
    rows by device id, which settles both.
    """

    @property
    def name(self) -> str:
        """As a scenario writes it."""

    def minimum(self) -> int:
        """Rows below which the rule refuses to work."""

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 deltas to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: fewer than :meth:`minimum` rows, or rows that are not finite.
        """


def parse_rule(text: str, *, tolerate: int) -> Rule:
    """The rule that a scenario names in ``defence.aggregator``, for ``defence.tolerate`` hostile devices.

    Raises:
        ScenarioError: unknown name (with the near match), or a negative ``tolerate``.

    >>> rule = parse_rule("nnm+trimmed_mean", tolerate=2)
    >>> rule.name, rule.minimum()
    ('nnm+trimmed_mean', 5)
    """
    if tolerate < 0:
        raise ScenarioError(f"defence.tolerate must not be negative, got {tolerate}", where="defence.tolerate")
    name = "".join(text.split())
    if name not in RULES:
        near = difflib.get_close_matches(name.lower(), RULES, n=1, cutoff=0.4)
        raise ScenarioError(
            f"unknown aggregation rule {text!r}",
            where="defence.aggregator",
            mend=f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(RULES)}",
        )
    mixed, last = name.startswith("nnm+"), name.removeprefix("nnm+")
    base: Mean | Median | TrimmedMean
    if last == "mean":
        base = Mean()
    elif last == "median":
        base = Median(tolerate)
    else:
        base = TrimmedMean(tolerate)
    return NearestNeighbourMixing(tolerate, base) if mixed else base
