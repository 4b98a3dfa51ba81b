"""What a report says of an empirical privacy audit."""

from typing import Any

from skerry.result import Result
from skerry.result_audit import Audit, AuditedView, TruePositives
from skerry.wording import amount, delta, epsilon, percent

__all__ = ["VIEWS", "audit_context", "audit_rows", "audit_sentence", "audit_verdict"]

VIEWS = {
    "coordinator": "coordinator: each update of each device",
    "participant": "participant: the vector of each round",
    "user": "user: the first and the last vector",
}
POWER = "a leak as large as claimed would show"


def audit_context(result: Result | None) -> dict[str, Any]:
    """Values for the page; empty words where nothing was audited."""
    found = result.privacy.audit if result is not None else None
    if found is None:
        return {"audit_verdict": "", "audit_sentence": "", "audit_rows": []}
    return {
        "audit_verdict": audit_verdict(found),
        "audit_sentence": audit_sentence(found),
        "audit_rows": audit_rows(found),
    }


def audit_verdict(audit: Audit) -> str:
    """One line: refuted, not refuted, or no power to tell."""
    least, claimed = f"{audit.epsilon_lower_bound:.2f}", epsilon(audit.epsilon_claimed)
    if audit.refuted:
        return f"REFUTED: ε ≥ {least}, claimed {claimed}"
    best = max(audit.power.epsilon_lower_bound.one_run, audit.power.epsilon_lower_bound.one_run_gaussian)
    if best == 0:
        return f"no power: {amount(audit.canaries, 'canary', 'canaries')} cannot show a leak of this size"
    return f"not refuted: ε ≥ {least} shown, {claimed} claimed, {best:.2f} what all of it would show"


def audit_sentence(audit: Audit) -> str:
    """What was done, in a sentence or two."""
    said = (
        f"{amount(audit.canaries, f'{audit.kind} canary', f'{audit.kind} canaries')}, {audit.inside:,} of them put in "
        f"by coins that were committed to before the first round. Lower bounds on ε at δ = {delta(audit.delta)}, "
        f"{audit.unit} level, {audit.relation}; together they hold at {percent(audit.confidence)} confidence."
    )
    if audit.canary_cost is None:
        return said
    return (
        f"{said} Accuracy with canaries {percent(audit.canary_cost.with_canaries)}, "
        f"without {percent(audit.canary_cost.without)}."
    )


def audit_rows(audit: Audit) -> list[tuple[str, ...]]:
    """A row for each attacker, and one for what could have been shown."""
    rows = [(VIEWS.get(name, name), *_figures(view)) for name, view in audit.views.items()]
    return [*rows, (POWER, *_figures(audit.power))]


def _figures(view: AuditedView) -> tuple[str, ...]:
    bounds, attack = view.epsilon_lower_bound, view.attack
    lows = (bounds.one_run, bounds.one_run_gaussian, bounds.clopper_pearson)
    return (*(f"{low:.2f}" for low in lows), f"{attack.auc:.3f}", *map(_rate, attack.tpr_at_fpr))


def _rate(found: TruePositives) -> str:
    return f"{100 * found.tpr:.1f} % ({100 * found.low:.1f}–{100 * found.high:.1f})"
