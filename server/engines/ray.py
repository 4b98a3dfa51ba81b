"""The ray engine: Flower's own simulation, one node per device, Ray actors of one processor each.

It exists to check that skerry behaves under Flower's machinery exactly as it does in one process. The simulation runs
in a child process (:mod:`skerry.server.engines.ray_driver`), because inside this one it could not be stopped cleanly:
Flower interrupted shuts Ray down under threads that wait for it, and Ray takes over signal handlers and environment
variables. The child, Ray's daemons and its workers end with the run, however it ends.

Given the address of a cluster that is there, devices are dealt out over its machines, one at a time on each processor;
the cluster stays when the run is over. Only the address that was given is joined, never one that Ray finds by itself.
"""

import importlib.util
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from skerry.config import Scenario
from skerry.errors import InputError, MissingDependencyError, RunFailedError
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

__all__ = ["ADDRESS_VARIABLE", "RayEngine"]

ADDRESS_VARIABLE = "SKERRY_RAY_ADDRESS"
"""The environment variable that names a cluster to run on."""

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_PATIENCE_S = 10.0
_WATCH_S = 0.05
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayEngine:
    """Runs a run folder under Flower's Ray simulation (see :class:`~skerry.server.engines.Engine`)."""

    name = "ray"

    def __init__(self, components: Components | None = None, *, address: str | None = None) -> None:
        """Without ``address``, ``host:port`` of a Ray cluster, it starts a Ray of its own."""
        if address is not None and not _ADDRESS.fullmatch(address):
            raise InputError(
                f"{address!r} is no address of a Ray cluster", where=ADDRESS_VARIABLE, mend="give it as HOST:PORT"
            )
        self.components = components or Components()
        self.address = address

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Without an address it starts itself what it needs; else somebody must listen there.

        Raises:
            RunFailedError: nobody does. Ray would go on asking for minutes.
        """
        del runs, scenario
        if self.address is None:
            return
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
        except (OSError, OverflowError) as error:
            raise RunFailedError(
                f"no Ray cluster answers at {self.address}: {error}",
                where=ADDRESS_VARIABLE,
                mend="start one with `ray start --head`, or unset the variable: skerry then starts its own",
            ) from error

    def load(self) -> None:
        """Nothing: the run is in processes of its own."""

    def run(self, folder: RunFolder) -> None:
        """Run to the end; the logs of Flower and of the workers of a Ray of its own are kept in ``runs/<id>/logs``.

        Those of a cluster that it joined stay where that cluster keeps them, on each of its machines.
        """
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
            *(() if self.address is None else ("--address", self.address)),
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
