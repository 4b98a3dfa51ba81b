"""The heatmaps of a grid as one HTML page: a table for each heterogeneity, rules down, attacks across, worst first."""

from collections.abc import Sequence
from html import escape

from skerry.server.lab.grid import QUIET, Cell, Grid

__all__ = ["heatmap", "worst_first"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --bad: #f2b8a0; --good: #9fd6c2; --line: #d5d9de }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --paper: #14171b; --bad: #7a3320; --good: #1c5c4a; --line: #363c44 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 90rem; padding: 0 1rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .5rem 0 }
th, td { padding: .35rem .6rem; border: 1px solid var(--line); text-align: right; white-space: nowrap }
th[scope=row] { text-align: left }
td { background: color-mix(in oklab, var(--bad), var(--good) calc(var(--share) * 100%)) }
td.worst { font-weight: 700; outline: 2px solid var(--ink); outline-offset: -2px }
"""


def worst_first(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Rules by their worst accuracy under any attack, best first; attacks by what the best rule keeps, least first.

    The column without an attack comes last.
    """
    rules = list(dict.fromkeys(cell.aggregator for cell in cells))
    attacks = list(dict.fromkeys(cell.attack for cell in cells))

    def worst(rule: str) -> float:
        found = [cell.accuracy for cell in cells if cell.aggregator == rule]
        attacked = [cell.accuracy for cell in cells if cell.aggregator == rule and cell.attack != QUIET]
        return min(attacked or found)

    rules.sort(key=lambda rule: -worst(rule))
    kept = {cell.attack: cell.accuracy for cell in reversed(cells) if cell.aggregator == rules[0]}
    attacks.sort(key=lambda attack: (attack == QUIET, kept[attack]))
    return rules, attacks


def heatmap(grid: Grid, cells: Sequence[Cell]) -> str:
    """The page; needs no script and nothing from elsewhere.

    Args:
        grid: what was tried.
        cells: all of its cells.
    """
    low = min(cell.accuracy for cell in cells)
    high = max(cell.accuracy for cell in cells)
    span = high - low or 1.0
    tables = "\n".join(_table(alpha, [c for c in cells if c.alpha == alpha], low, span) for alpha in grid.alphas)
    screen = ", ".join(grid.screen) or "nothing but numbers that are not finite"
    if grid.false_alarms is not None:
        screen += f" (false alarms at a rate of {grid.false_alarms:g})"
    said = (
        f"Accuracy on MNIST-1D's test examples in %, mean of {grid.seeds} seed(s): {grid.honest} honest and "
        f"{grid.hostile} hostile devices, {grid.steps} rounds. Screened for: {screen}. "
        "Hostile devices know all honest updates. In brackets: on how many in a hundred a backdoor's trigger works. "
        "Best rule first, worst attack first; each rule's worst is framed."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Attack grid</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>Attack grid</h1><p>{escape(said)}</p>\n{tables}\n</body></html>\n"
    )


def _table(alpha: float, cells: Sequence[Cell], low: float, span: float) -> str:
    rules, attacks = worst_first(cells)
    at = {(cell.aggregator, cell.attack): cell for cell in cells}
    head = "".join(f'<th scope="col">{escape(attack)}</th>' for attack in attacks)
    lines = []
    for rule in rules:
        attacked = {attack: at[rule, attack].accuracy for attack in attacks if attack != QUIET}
        worst = min(attacked, key=attacked.__getitem__, default=None)
        row = "".join(_cell(at[rule, attack], low, span, worst=attack == worst) for attack in attacks)
        lines.append(f'<tr><th scope="row">{escape(rule)}</th>{row}</tr>')
    return (
        f'<div class="scroll"><table><caption>Dirichlet α = {alpha:g}</caption>'
        f'<thead><tr><th scope="col">rule</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(cell: Cell, low: float, span: float, *, worst: bool) -> str:
    found = cell.to_json()
    seeds = ", ".join(f"{100 * value:.1f}" for value in found["accuracies"])
    told = (
        f"seeds: {seeds}; hostile devices quarantined {found['hostile_quarantined']:.1f}, "
        f"honest {found['honest_quarantined']:.1f}"
    )
    shown = f"{100 * cell.accuracy:.1f}"
    if cell.success is not None:
        told += f"; trigger works on {100 * cell.success:.0f} %"
        shown += f" ({100 * cell.success:.0f})"
    mark = ' class="worst"' if worst else ""
    share = (cell.accuracy - low) / span
    return f'<td{mark} style="--share:{share:.2f}" title="{escape(told)}">{shown}</td>'
