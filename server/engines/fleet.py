"""The fleet engine: enrolled devices, over the servers of a ``skerry server up`` in the same folder of runs; the
coordinator is this process.

Nothing is started but the run. It claims the run's task by the secret that the server keeps for its owner
(:mod:`skerry.server.engines.flwr_run`), and ends with it; devices stay where they are, and wait for the next.
"""

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skerry.clock import system_clock
from skerry.config import Scenario
from skerry.errors import RefusedError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.security.identity.private_file import read_private
from skerry.security.locking import exclusive
from skerry.server.engines import flwr_adapter
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.engine import Components, logging_to, logs
from skerry.server.federation_home import FederationHome
from skerry.server.fleet_rules import check_enrolled
from skerry.server.running import RunningServer

__all__ = ["FleetEngine"]

_AROUND = 64 << 10


class FleetEngine:
    """Runs a run folder over a fleet (see :class:`~skerry.server.engines.Engine`)."""

    name = "fleet"

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Return when a server of this folder of runs is up, and enough devices are enrolled for the scenario.

        Raises:
            RunFailedError: no server is up.
            RefusedError: too few are enrolled (``too_few_enrolled``).
        """
        _server_of(runs)
        flwr_adapter.keep_to_ourselves()
        from skerry.server.fleet import good_standing  # imports Flower, which is told before to keep to itself

        check_enrolled(scenario, len(good_standing(runs, system_clock())), where=runs)

    def run(self, folder: RunFolder) -> None:
        """Run to the end; what the coordinator raises passes through unchanged.

        Raises:
            RefusedError: another run goes on over this fleet (``fleet_in_use``).
        """
        runs = folder.path.parent
        server = _server_of(runs)
        flwr_adapter.require_flwr()
        flwr_adapter.keep_to_ourselves()
        from skerry.server.conduct import conduct  # imports Flower, which is told before to keep to itself
        from skerry.server.engines.flwr_run import driven_run

        folder.mark("preparing", stage="joining the fleet", extra={"federation": server.federation})
        with (
            _alone(runs),
            tempfile.TemporaryDirectory(prefix="skerry-fleet-") as private,
            logging_to(logs(folder) / "fleet.log", "flwr", "httpx", __name__),
            driven_run(
                server.addresses["superlink"],
                Path(server.superlink_authority).read_bytes(),
                read_private(Path(server.superlink_secret)),
                write_bundle(Path(private), Components()),
                largest=_largest_reply(folder),
            ) as (grid, number),
        ):
            conduct(folder, grid, system_clock, flwr_run=number)


def _largest_reply(folder: RunFolder) -> int:
    """Bytes of an update of the prepared run, with what its envelope and Flower put around it."""
    layout: list[tuple[str, list[int]]] = json.loads((folder.path / "model" / "base.json").read_bytes())["layout"]
    return 4 * sum(math.prod(shape) for _, shape in layout) + _AROUND


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Hold the fleet for the time of a block: a device works for one run at a time."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(FederationHome(runs).folder / "run", patient=False))
        except BlockingIOError as error:
            raise RefusedError(
                "fleet_in_use",
                "another run goes on over this fleet",
                where=str(runs),
                mend="wait for it: `skerry runs list` shows it; then go on with this one",
            ) from error
        yield


def _server_of(runs: Path) -> RunningServer:
    found = RunningServer.read(FederationHome(runs).server)
    if found is None:
        raise RunFailedError(
            "no server is up in this folder of runs, so no device can be reached",
            where=str(runs),
            mend=f"start one with `skerry server up --runs-dir {runs}`, and leave it running",
        )
    return found
