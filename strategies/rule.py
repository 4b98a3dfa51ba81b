"""What an aggregation rule is, and how a scenario's text becomes one."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from skerry.errors import ScenarioError
from skerry.records import Float32Array
from skerry.strategies.aggregating import AggregationRule, Step
from skerry.strategies.arc import AdaptiveClipping
from skerry.strategies.bucketing import Bucketing
from skerry.strategies.bulyan import Bulyan
from skerry.strategies.caf import CAF
from skerry.strategies.centred_clipping import CentredClipping
from skerry.strategies.clipping import Clipping
from skerry.strategies.composed import Composed
from skerry.strategies.dnc import DnC
from skerry.strategies.flame import FLAME
from skerry.strategies.foolsgold import FoolsGold
from skerry.strategies.geometric_median import GeometricMedian
from skerry.strategies.krum import Krum
from skerry.strategies.meamed import MeaMed
from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.monna import MoNNA
from skerry.strategies.multi_krum import MultiKrum
from skerry.strategies.nnm import NearestNeighbourMixing
from skerry.strategies.norm_clipped_mean import NormClippedMean
from skerry.strategies.trimmed_mean import TrimmedMean

__all__ = ["RULES", "STEPS", "Rule", "parse_rule"]

_RULES: Mapping[str, Callable[[int], AggregationRule]] = MappingProxyType(
    {
        "mean": lambda _: Mean(),
        "median": Median,
        "trimmed_mean": TrimmedMean,
        "krum": Krum,
        "multi_krum": MultiKrum,
        "geometric_median": GeometricMedian,
        "centred_clipping": CentredClipping,
        "monna": MoNNA,
        "norm_clipped_mean": lambda _: NormClippedMean(),
        "meamed": MeaMed,
        "bulyan": Bulyan,
        "dnc": DnC,
        "caf": CAF,
        "foolsgold": lambda _: FoolsGold(),
        "flame": FLAME,
    }
)
_STEPS: Mapping[str, Callable[[int, int], Step]] = MappingProxyType(
    {
        "nnm": lambda tolerate, _: NearestNeighbourMixing(tolerate),
        "bucketing": lambda _, seed: Bucketing(2, seed),
        "clipping": lambda *_: Clipping(),
        "arc": lambda tolerate, _: AdaptiveClipping(tolerate),
    }
)

RULES = tuple(_RULES)
"""How ``defence.aggregator`` may end."""

STEPS = tuple(_STEPS)
"""What may come before, joined by ``+``, in any order and number."""


class Rule(Protocol):
    """A function of the set of updates, with the number of updates that its guarantee needs.

    Every rule: gives no result from rows that are not finite; never changes its input; weighs devices alike (there is
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


def parse_rule(text: str, *, tolerate: int, seed: int = 0) -> Rule:
    """The rule that a scenario names in ``defence.aggregator``, for ``defence.tolerate`` hostile devices.

    Any number of :data:`STEPS`, then one of :data:`RULES`, joined by ``+``.

    Args:
        text: as in ``nnm+trimmed_mean``.
        tolerate: f, devices that may be hostile.
        seed: of the shuffle in ``bucketing``; another one each round.

    Raises:
        ScenarioError: unknown name (with the near match), or a negative ``tolerate``.

    >>> rule = parse_rule("nnm+trimmed_mean", tolerate=2)
    >>> rule.name, rule.minimum()
    ('nnm+trimmed_mean', 5)
    """
    if tolerate < 0:
        raise ScenarioError(f"defence.tolerate must not be negative, got {tolerate}", where="defence.tolerate")
    *before, last = "".join(text.split()).split("+")
    if last not in _RULES or any(step not in _STEPS for step in before):
        raise _unknown(text, before, last)
    rule = _RULES[last](tolerate)
    return Composed(tuple(_STEPS[step](tolerate, seed) for step in before), rule) if before else rule


def _unknown(text: str, before: list[str], last: str) -> ScenarioError:
    """Say which part is meant, if every part is near to something."""
    near = [difflib.get_close_matches(step.lower(), STEPS, n=1, cutoff=0.5) for step in before]
    near.append(difflib.get_close_matches(last.lower(), RULES, n=1, cutoff=0.4))
    mend = f"one of: {', '.join(RULES)}; before it, joined by +, any of: {', '.join(STEPS)}"
    if all(near) and last != "fltrust":
        mend = f"did you mean {'+'.join(found[0] for found in near)!r}?"
    elif last == "fltrust":
        mend = "fltrust needs an update from the coordinator's own data: build skerry.strategies.FLTrust(root)"
    elif last in STEPS:
        mend = f"{last} is a step before a rule: {last}+ and one of {', '.join(RULES)}"
    return ScenarioError(f"unknown aggregation rule {text!r}", where="defence.aggregator", mend=mend)
