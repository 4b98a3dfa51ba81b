"""``skerry top``: what the console shows, in the terminal."""

import math
import sys
from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit

__all__ = ["top"]


def top(
    *,
    every: Annotated[float, typer.Option("--every", min=0.1, max=60, metavar="S", help="Seconds between looks.")] = 0.5,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Watch a folder of runs: rounds with accuracy and ε, devices by state, verdicts, alerts, the federation's log.

    It reads what the console in a browser reads, and changes nothing; no server has to run. With --json all facts are
    printed once, by key.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError, MissingDependencyError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.console.overview import Overview

    runs = runs_in(runs_dir)
    if not runs.is_dir():
        raise InputError("there is no such folder of runs", where=str(runs), mend="say where with --runs-dir")
    overview = Overview(runs, system_clock)
    if math.isnan(every):  # passes every range
        raise InputError("nan is no number of seconds", where="--every", mend="give one")
    if as_json:
        emit({"runs_dir": str(runs), "facts": overview.look()})
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # it reads keys from the one and draws on the other
        raise InputError("the view needs a terminal", mend="use --json, which prints all facts once")
    try:
        from skerry.cli.top_view import TopView
    except ImportError as error:
        raise MissingDependencyError(
            "the terminal's view needs textual", mend="install skerry with the extra `server`, or use --json"
        ) from error
    TopView(overview.look, every_s=every).run()
