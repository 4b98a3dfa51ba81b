"""The attack lab: rules and screens against published attacks, on a task small enough for hundreds of runs."""

from skerry.server.lab.cell import Defence, Outcome, Setting, train
from skerry.server.lab.grid import QUIET, Cell, Grid, check, load_grid, run_grid
from skerry.server.lab.heatmap import heatmap, worst_first
from skerry.server.lab.poisons import BACKDOORS, POISONS

__all__ = [
    "BACKDOORS",
    "POISONS",
    "QUIET",
    "Cell",
    "Defence",
    "Grid",
    "Outcome",
    "Setting",
    "check",
    "heatmap",
    "load_grid",
    "run_grid",
    "train",
    "worst_first",
]
