"""The part of ``result.json`` that an empirical privacy audit writes: ``privacy.audit``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AttackFound", "Audit", "AuditedView", "CanaryCost", "LowerBounds", "TruePositives"]

Rate = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LowerBounds(_Part):
    """Lower bounds on ε: of any mechanism, of a Gaussian one, and by error rates of independent canaries."""

    one_run: NonNegative
    one_run_gaussian: NonNegative
    clopper_pearson: NonNegative


class TruePositives(_Part):
    """Share of members that an attack calls so, at a false positive rate, with its confidence interval."""

    fpr: Rate
    tpr: Rate
    low: Rate
    high: Rate


class AttackFound(_Part):
    """What an attack reached."""

    auc: Rate
    tpr_at_fpr: tuple[TruePositives, ...]
    confidence: Rate


class AuditedView(_Part):
    """One attacker: what was proved, at which confidence, for adding or removing one canary, at δ."""

    canaries: Count
    epsilon_lower_bound: LowerBounds
    attack: AttackFound
    delta: Annotated[float, Field(gt=0, lt=1)]
    confidence: Rate
    relation: str


class CanaryCost(_Part):
    """Accuracy on held-out devices of this run, and of the same run without canaries."""

    with_canaries: Rate
    without: Rate


class Audit(_Part):
    """What an audit found.

    ``epsilon_claimed`` is the figure that was tested (PLD, at ``delta``). ``epsilon_lower_bound`` is the largest lower
    bound that speaks of it, over all attackers together at ``confidence``; ``refuted`` says that it exceeds the claim.
    ``power`` is what would have been reported of a leak as large as the claim: a lower bound of 0 beside a power of 0
    says nothing.
    """

    kind: Literal["crafted", "mislabelled", "natural"]
    canaries: Count
    inside: Count
    confidence: Rate
    delta: Annotated[float, Field(gt=0, lt=1)]
    unit: Literal["example", "device"]
    relation: str
    epsilon_claimed: NonNegative
    epsilon_lower_bound: NonNegative
    refuted: bool
    views: dict[str, AuditedView]
    power: AuditedView
    canary_cost: CanaryCost | None = None
    commitment: str
    notes: tuple[str, ...] = ()
