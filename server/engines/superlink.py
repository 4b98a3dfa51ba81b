"""The superlink engine: a real SuperLink and one stock SuperNode per device on this machine, started, watched, ended.

It is slow on purpose: nothing is replaced, so that what runs here runs against a remote SuperLink too. Each message
costs a fresh Python process on its node, and nodes ask for work every three seconds.

Everything listens on 127.0.0.1 only. Flower itself lets whoever reaches a SuperLink's port submit runs and register
nodes: use it on a machine whose users you trust. What devices send is sealed to the coordinator all the same.
"""

import tempfile
import time
from pathlib import Path

from skerry.config import Scenario
from skerry.errors import RunFailedError, ScenarioError
from skerry.runfolder import RunFolder
from skerry.server.engines import flwr_adapter
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.engine import (
    Components,
    coordinator_failed,
    fleet_homes,
    is_complete,
    logs,
    remove_folder,
)
from skerry.server.engines.processes import Children, last_lines

__all__ = ["SuperlinkEngine"]

_WATCH_S = 0.5
_PATIENCE = 20  # a busy SuperLink may miss that many looks in a row
_FAREWELL_S = 20.0  # for a coordinator that is done, to say so to its SuperLink: Flower tries once


class SuperlinkEngine:
    """Runs a run folder over HTTPS on this machine (see :class:`~skerry.server.engines.Engine`).

    Args:
        components: the apps, importable by the programs that Flower starts.
        port: where the SuperLink listens on 127.0.0.1; ``None`` takes a free one.
    """

    name = "superlink"

    def __init__(self, components: Components | None = None, *, port: int | None = None) -> None:
        self.components = components or Components()
        self.port = port

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Everything that it needs it starts itself.

        Raises:
            ScenarioError: the run is buffered. Its devices would answer by a virtual clock, for which the coordinator
                waits without a deadline: one node that hangs would hold the run.
        """
        del runs
        if scenario.cohort.mode == "buffered":
            raise ScenarioError(
                "a buffered run lives by a virtual clock over simulated devices, and its nodes here by the wall's",
                where="cohort.mode",
                mend="use --engine inprocess, or --engine fleet over enrolled devices",
            )

    def load(self) -> None:
        """Nothing: the run is in processes of its own."""

    def run(self, folder: RunFolder) -> None:
        """Run to the end; logs of every program are kept in ``runs/<id>/logs``."""
        homes = fleet_homes(folder)
        flwr_adapter.require_flwr()
        flwr_adapter.keep_to_ourselves()
        nodes: list[dict[str, str | int]] = [
            {"skerry-home": str(home), "partition-id": index, "num-partitions": len(homes)}
            for index, home in enumerate(homes)
        ]
        private = Path(tempfile.mkdtemp(prefix="skerry-superlink-"))  # 0700
        try:
            with Children() as children:
                deployment = Deployment(private, logs(folder), children, port=self.port)
                deployment.start(nodes)
                app = write_bundle(private / "app", self.components)
                with deployment.control() as control:
                    run_id = control.start(app, {"run": str(folder.path)})
                    status = _follow(control, run_id, children, folder)
        except ConnectionError as error:
            log = logs(folder) / "superlink.log"
            raise RunFailedError(str(error), where=str(log), mend="see the log") from error
        finally:
            remove_folder(private)
        if not status.completed and not is_complete(folder):
            log = logs(folder) / "superlink.log"
            raise coordinator_failed(folder, status.details or last_lines(log), log)


def _follow(
    control: flwr_adapter.Control, run_id: int, children: Children, folder: RunFolder
) -> flwr_adapter.RunStatus:
    """Wait for the run's end, while every program is alive."""
    missed = 0
    complete_since: float | None = None
    while True:
        children.check()
        try:
            status = control.status(run_id)
            missed = 0
        except ConnectionError:
            missed += 1
            if missed > _PATIENCE:
                raise
        else:
            if is_complete(folder):
                complete_since = complete_since or time.monotonic()
            if status.finished or (complete_since and time.monotonic() - complete_since > _FAREWELL_S):
                return status
        time.sleep(_WATCH_S)
