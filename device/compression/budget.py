"""A compression's budget: which parts of it figures do not keep, and how far they are from it."""

from skerry.config.recipe import BudgetConfig
from skerry.device.compression.figures import Figures
from skerry.wording import percent, points, size

__all__ = ["broken_parts", "excess"]


def broken_parts(budget: BudgetConfig, figures: Figures, before: Figures | None) -> tuple[str, ...]:
    """What of a budget the figures do not keep, in words; empty when they keep it.

    Args:
        budget: what was asked for.
        figures: of the result.
        before: of the uncompressed network, where there is one.
    """
    broken = []
    if budget.size_kb is not None and figures.bytes > 1000 * budget.size_kb:
        broken.append(f"{size(figures.bytes)} are stored, {size(round(1000 * budget.size_kb))} were allowed")
    if budget.latency_ms is not None and figures.latency_ms > budget.latency_ms:
        broken.append(f"one call takes {figures.latency_ms:.3f} ms, {budget.latency_ms:g} ms were allowed")
    if budget.accuracy_drop is not None and before is not None:
        lost = before.accuracy - figures.accuracy
        if lost > budget.accuracy_drop:
            allowed = f"{points(-budget.accuracy_drop)} were allowed"
            broken.append(f"accuracy went from {percent(before.accuracy)} to {percent(figures.accuracy)}, {allowed}")
    return tuple(broken)


def excess(budget: BudgetConfig, figures: Figures, before: Figures | None) -> float:
    """How far figures are from a budget, 0 when they keep it.

    The largest of the relative excess of bytes and latency and, a point of accuracy counting as one per cent, of the
    accuracy that was lost beyond what was allowed.
    """
    parts = [0.0]
    if budget.size_kb is not None:
        parts.append(figures.bytes / (1000 * budget.size_kb) - 1)
    if budget.latency_ms is not None:
        parts.append(figures.latency_ms / budget.latency_ms - 1)
    if budget.accuracy_drop is not None and before is not None:
        parts.append(before.accuracy - figures.accuracy - budget.accuracy_drop)
    return max(parts)
