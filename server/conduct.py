"""One run from its prepared folder to its report, over any Flower ``Grid``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flwr.serverapp import Grid

from skerry.clock import Clock
from skerry.device.app import pointer
from skerry.device.worker import process_worker
from skerry.errors import DiskFullError, ServerLostError
from skerry.fsio import write_json
from skerry.runfolder import RunFolder
from skerry.server.discover import discover
from skerry.server.federation import Federation
from skerry.server.finish import finish
from skerry.server.prepare import prepare
from skerry.server.provision import forget_secret
from skerry.server.recorded import recorded
from skerry.server.remember import FleetMemory, check_enough
from skerry.server.roster import Roster
from skerry.server.rounds import run_rounds
from skerry.server.run_clerk import report
from skerry.server.run_statements import enter_run
from skerry.server.tracing import Tracing, traced

__all__ = ["conduct"]

DISCOVERY_PATIENCE_S = 180.0
"""A SuperNode starts a fresh Python process for its answer: on a busy machine that alone may take a minute."""


def conduct(folder: RunFolder, grid: Grid, clock: Clock, *, flwr_run: int) -> None:
    """Prepare, discover the devices, run the rounds, finish; devices in standing quarantine are left out.

    The devices are those of the task in a simulation, and over a fleet those that are enrolled in the federation.

    A run that is finished is entered in the federation's log, and its report shows the proofs.

    Whatever ends the run early is recorded in ``status.json`` before it is raised again.
    """
    goes_on = () if folder.simulated else (ServerLostError, DiskFullError)
    with recorded(folder, but=goes_on), _pointing(folder, flwr_run), FleetMemory(folder) as memory:
        with traced(folder) as tracing:
            _conduct(folder, grid, clock, memory, tracing)
        folder.mark("complete")


def _conduct(folder: RunFolder, grid: Grid, clock: Clock, memory: FleetMemory, tracing: Tracing) -> None:
    with tracing.span("prepare"):
        prepared = prepare(folder, clock, process_worker())
        devices = prepared.task.devices() if folder.simulated else _chosen(folder, clock())
        excluded = memory.excluded(devices)
        check_enough(folder, len(devices), len(excluded))
    folder.mark("preparing", stage="waiting for devices")
    wanted = [device for device in devices if device not in excluded]
    nodes: Mapping[str, int] | Roster
    with tracing.span("discover"):
        if folder.simulated:
            nodes = discover(folder, grid, wanted, clock, patience_s=DISCOVERY_PATIENCE_S)
        else:
            from skerry.server.fleet import muster  # certificates and the registry: no simulation waits for them

            nodes = muster(folder, grid, wanted, clock, excluded=excluded)
    federation = Federation.assemble(
        folder, prepared, grid, nodes, clock, excluded=excluded, memory=memory, tracing=tracing
    )
    if federation.past.rounds:
        memory.catch_up()
    with federation.ledger:
        progress = run_rounds(federation)
        with tracing.span("finish"):
            finish(federation, progress)
            enter_run(federation, progress.sent)
    with tracing.span("report"):
        report(folder)
    forget_secret(folder)


def _chosen(folder: RunFolder, now: int) -> tuple[str, ...]:
    """The enrolled devices that the scenario chooses."""
    from skerry.server.fleet import good_standing

    return good_standing(folder.path.parent, now).tagged(folder.scenario.cohort.tags)


@contextmanager
def _pointing(folder: RunFolder, flwr_run: int) -> Iterator[None]:
    """Leave the pointer by which simulated nodes find this run's fleet, for as long as the run lasts."""
    if not folder.simulated:  # real nodes have their homes
        yield
        return
    path = pointer(flwr_run)
    write_json(path, {"run": str(folder.path)}, durable=False)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
