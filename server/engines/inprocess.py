"""The in-process engine: coordinator and devices in one process, a function call between them.

The same ``ServerApp`` and ``ClientApp`` objects as everywhere; only Flower's ``Grid`` is ours. Every message still
passes as a sealed envelope in a ``Message``, so nothing that a device checks is skipped. One process means one copy of
each library and one frozen base model, however many devices there are. Where a machine has processors to spare, devices
live in processes that are forked from it.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.collecting import IN_A_RUN, collecting_seldom
from skerry.config import Scenario
from skerry.device.worker import process_worker
from skerry.group_sync import GroupSync
from skerry.runfolder import RunFolder
from skerry.server.engines import flwr_adapter
from skerry.server.engines.engine import Components, fleet_homes, logging_to, logs

__all__ = ["InProcessEngine"]

_ONE_AT_A_TIME = threading.RLock()


class InProcessEngine:
    """Runs a run folder with all devices in this process (see :class:`~skerry.server.engines.Engine`).

    Of several runs in one program each waits for the one before: Flower's identity, the loggers and what the process's
    worker keeps of devices are there once.
    """

    name = "inprocess"

    def __init__(self, components: Components | None = None, *, workers: int = 1, processes: int = 1) -> None:
        """``workers`` are threads of this process; more than one of ``processes`` are forked from it instead."""
        self.components = components or Components()
        self.workers = workers
        self.processes = processes

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Everything that it needs it starts itself."""

    def load(self) -> None:
        """Flower, both apps, and all that they need."""
        flwr_adapter.require_flwr()
        flwr_adapter.keep_to_ourselves()
        self.components.load()

    def run(self, folder: RunFolder) -> None:
        """Run to the end; what the coordinator raises passes through unchanged."""
        homes = fleet_homes(folder)
        self.load()
        from flwr.app import Context, RecordDict  # Flower loads for a quarter of a second
        from threadpoolctl import threadpool_limits

        from skerry.server.engines.forked_grid import ForkedGrid
        from skerry.server.engines.inprocess_grid import RUN_ID, InProcessGrid

        server, client = self.components.load()
        grids = InProcessGrid.__module__, ForkedGrid.__module__
        nodes: list[dict[str, str | int]] = [
            {"skerry-home": str(home), "partition-id": index, "num-partitions": len(homes)}
            for index, home in enumerate(homes)
        ]
        context = Context(
            RUN_ID,
            flwr_adapter.COORDINATOR_NODE,
            {},
            RecordDict(),
            {"run": str(folder.path), "scenario": "", "overrides": "", "runs-dir": ""},
        )
        with (
            _ONE_AT_A_TIME,
            threadpool_limits(1),  # of BLAS, in forked processes too: more would spin, each in the others' way
            collecting_seldom(*IN_A_RUN),
            flwr_adapter.task_identity(RUN_ID),
            logging_to(logs(folder) / "inprocess.log", "flwr", "skerry.device", *grids),
        ):
            if self.processes == 1:
                with _holding(folder):
                    server(InProcessGrid(client, nodes, workers=self.workers, settle=_settle), context)
                return
            from skerry.server.opening import OPEN, open_part  # the coordinator, which no device needs
            from skerry.server.own_accuracy import OWN, measure_part
            from skerry.server.sealing import SEAL, seal_part

            grid = ForkedGrid(
                client,
                nodes,
                processes=self.processes,
                settle=_settle,
                holding=functools.partial(_holding, folder),
                chores={SEAL: seal_part, OPEN: open_part, OWN: measure_part},
            )
            with grid:
                server(grid, context)


@contextmanager
def _holding(folder: RunFolder) -> Iterator[None]:
    """All devices of the run live in this process, or in forks of it: their ledgers are held, and synced together."""
    with GroupSync(folder.path) as group, process_worker().ledgers.holding(group):
        yield


def _settle() -> None:
    process_worker().ledgers.settle()
