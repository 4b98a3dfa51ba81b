"""The Flower ``ServerApp``: finds or makes the run folder, then conducts the run over whatever ``Grid`` it is given."""

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from skerry.clock import system_clock
from skerry.config import default_scenario, load_scenario
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder, runs_dir
from skerry.server.conduct import conduct
from skerry.server.prepare import prepare

__all__ = ["app", "locate_run"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Conduct one run."""
    conduct(locate_run(context), grid, system_clock, flwr_run=context.run_id)


def locate_run(context: Context) -> RunFolder:
    """The run this ServerApp was started for.

    In this order: run configuration ``run`` (a prepared folder), environment ``SKERRY_RUN`` (the same), else a new
    run from the run configuration's ``scenario`` (a file; empty is the shipped default), ``overrides``
    (``key=value`` pairs joined by ``;``) and ``runs-dir``.
    """
    settings = {key: str(value) for key, value in context.run_config.items()}
    prepared = settings.get("run") or os.environ.get("SKERRY_RUN")
    if prepared:
        return RunFolder(Path(prepared))
    overrides = [pair for pair in settings.get("overrides", "").split(";") if pair]
    chosen = settings.get("scenario")
    scenario = load_scenario(Path(chosen), overrides) if chosen else default_scenario(overrides)
    parent = settings.get("runs-dir")
    folder = RunFolder.create(runs_dir(Path(parent) if parent else None), scenario, engine="flwr")
    prepare(folder, system_clock, process_worker())
    return folder
