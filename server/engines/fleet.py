"""The fleet engine: enrolled devices, over the servers of a ``skerry server up`` in the same folder of runs; the
coordinator is this process.

Nothing is started but the run. It claims the run's task by the secret that the server keeps for its owner
(:mod:`skerry.server.engines.flwr_run`), and ends with it; devices stay where they are, and wait for the next. Servers
that are started anew know nothing of it: it claims another task there, and goes on with the round that was under way as
a run does that was stopped (:mod:`skerry.server.resume`).
"""

import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from skerry.clock import system_clock
from skerry.config import Scenario
from skerry.errors import DiskFullError, InputError, RefusedError, RunFailedError, ServerLostError
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
_SERVER_S = 600.0
_LOOK_S, _SELDOM_S = 0.5, 10.0
_LOST = "the server was lost under the run, which goes on when `skerry server up` runs again"
_FULL = "the disk was full under the run, which goes on when there is room"

_LOG = logging.getLogger(__name__)


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

        chosen = good_standing(runs, system_clock()).tagged(scenario.cohort.tags)
        check_enrolled(scenario, len(chosen), where=runs)

    def load(self) -> None:
        """Nothing: there is no fleet to be made meanwhile."""

    def run(self, folder: RunFolder) -> None:
        """Run to the end; what the coordinator raises passes through unchanged.

        A server that ends under the run, or does not answer any more, is waited for, and the run goes on over the one
        that comes; so is room on a disk that is full. Given up when for ten minutes neither came and no round was
        finished.

        Raises:
            RefusedError: another run goes on over this fleet (``fleet_in_use``).
            RunFailedError: the servers or the room were lost, and the run was given up or cannot go on; or no server
                was there.
        """
        runs = folder.path.parent
        server = _server_of(runs)
        flwr_adapter.require_flwr()
        flwr_adapter.keep_to_ourselves()
        from skerry.server.resume import kept_nowhere  # imports Flower, which is told before to keep to itself

        goes_on = kept_nowhere(folder.scenario) is None
        patience = _Patience(folder)
        with _alone(runs), logging_to(logs(folder) / "fleet.log", "flwr", "httpx", __name__):
            while True:
                try:
                    _over(server, folder)
                except (ServerLostError, DiskFullError) as lacking:
                    _LOG.warning("%s (%s)", lacking.what, lacking.where)
                    found = patience.another(lacking) if goes_on else None
                    if found is None:
                        raise RunFailedError(lacking.what, where=lacking.where, mend=lacking.mend) from lacking
                    server = found
                else:
                    return


class _Patience:
    """Waits for servers, and for room: ten minutes from the first loss, or from one before which a round was finished.

    Whether there is room is tried by whoever goes on.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._rounds = -1
        self._end = 0.0
        self._pause_s = _LOOK_S

    def another(self, lacking: ServerLostError | DiskFullError) -> RunningServer | None:
        """The server that is up, as soon as one is; None when none came in time."""
        full = isinstance(lacking, DiskFullError)
        done = len(self._folder.rounds())
        with suppress(DiskFullError):  # no room for these words either
            if done > self._rounds:
                self._rounds, self._end, self._pause_s = done, time.monotonic() + _SERVER_S, _LOOK_S
                self._folder.notify(_FULL if full else _LOST)
            self._folder.mark("preparing", stage="waiting for room" if full else "waiting for the server")
        home = FederationHome(self._folder.path.parent)
        time.sleep(self._pause_s)  # what is there, and does not do as asked, is asked ever more rarely
        self._pause_s = min(2 * self._pause_s, _SELDOM_S)
        while time.monotonic() < self._end:
            found = RunningServer.read(home.server)
            if found is not None:
                return found
            time.sleep(_LOOK_S)
        return None


def _over(server: RunningServer, folder: RunFolder) -> None:
    """Conduct the run over this server, from its last finished round."""
    from skerry.server.conduct import conduct  # imports Flower, which is told before to keep to itself
    from skerry.server.engines.flwr_run import driven_run

    folder.mark("preparing", stage="joining the fleet", extra={"federation": server.federation})
    try:
        root, secret = Path(server.superlink_authority).read_bytes(), read_private(Path(server.superlink_secret))
    except (FileNotFoundError, InputError) as error:  # they go with their server
        raise ServerLostError("the server has just ended", where=str(error)) from error
    with (
        tempfile.TemporaryDirectory(prefix="skerry-fleet-") as private,
        driven_run(
            server.addresses["superlink"],
            root,
            secret,
            write_bundle(Path(private), Components()),
            largest=_largest_reply(folder),
            there=lambda: server.alive,
            bells=FederationHome(folder.path.parent).bells,
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
