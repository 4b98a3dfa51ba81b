"""The ray engine: Flower's own simulation, one node per device, Ray actors of one processor each.

It exists to check that skerry behaves under Flower's machinery exactly as it does in one process. The simulation runs
in a child process (:mod:`skerry.server.engines.ray_driver`), because inside this one it could not be stopped cleanly:
Flower interrupted shuts Ray down under threads that wait for it, and Ray takes over signal handlers and environment
variables. The child, Ray's daemons and its workers end with the run, however it ends.
"""

import importlib.util
import shutil
import sys
import tempfile
import time
from pathlib import Path

from skerry.config import Scenario
from skerry.errors import MissingDependencyError
from skerry.runfolder import RunFolder
from skerry.server.engines import flwr_adapter
from skerry.server.engines.engine import (
    Components,
    child_environment,
    coordinator_failed,
    fleet_homes,
    is_complete,
    logs,
    remove_folder,
)
from skerry.server.engines.processes import Children, last_lines

__all__ = ["RayEngine"]

_WATCH_S = 0.05
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayEngine:
    """Runs a run folder under Flower's Ray simulation (see :class:`~skerry.server.engines.Engine`)."""

    name = "ray"

    def __init__(self, components: Components | None = None) -> None:
        self.components = components or Components()

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Everything that it needs it starts itself."""

    def run(self, folder: RunFolder) -> None:
        """Run to the end; the logs of Flower and of Ray's workers are kept in ``runs/<id>/logs``."""
        homes = fleet_homes(folder)
        flwr_adapter.require_flwr()
        if importlib.util.find_spec("ray") is None:
            raise MissingDependencyError("Ray is not installed", mend="pip install 'skerry[server]'")
        log = logs(folder) / "ray.log"
        temporary = Path(tempfile.mkdtemp(prefix="skerry-ray-", dir=_short_folder()))
        command = [
            *(sys.executable, "-P", "-m", "skerry.server.engines.ray_driver"),
            *("--server", self.components.server, "--client", self.components.client),
            *("--nodes", str(len(homes)), "--temporary", str(temporary)),
        ]
        env = child_environment({**_QUIET, "SKERRY_RUN": str(folder.path)})
        try:
            with Children() as children:
                driver = children.start("the simulation", command, log, env)
                while driver.exit_code is None:
                    children.remember()
                    time.sleep(_WATCH_S)
        finally:
            _keep_logs(temporary, logs(folder) / "ray")
            remove_folder(temporary)
        if driver.exit_code != 0 and not is_complete(folder):
            raise coordinator_failed(folder, last_lines(log, 1), log)


def _short_folder() -> str:
    """Where temporary files go, unless Ray's socket names (107 bytes in all) would not fit under it."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= 20 or not Path("/tmp").is_dir() else "/tmp"  # noqa: S108


def _keep_logs(temporary: Path, keep: Path) -> None:
    for pattern in ("worker-*", "raylet.err", "gcs_server.err"):
        for file in temporary.glob(f"session_2*/logs/{pattern}"):
            if file.stat().st_size:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, keep / file.name)
