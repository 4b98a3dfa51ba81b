"""Starting a run from one machine: make the folder, prepare, hand over to an engine, and tell how it ended."""

import atexit
import functools
import gc
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from skerry.clock import system_clock
from skerry.collecting import IN_A_RUN, collecting_seldom
from skerry.config import Scenario
from skerry.device.worker import process_worker
from skerry.errors import InputError, InterruptedRunError, RunFailedError
from skerry.forking import Beside
from skerry.runfolder import RunFolder
from skerry.security.locking import exclusive
from skerry.server.engines import get_engine
from skerry.server.prepare import prepare
from skerry.server.recorded import recorded
from skerry.server.resume import kept_nowhere, reopen
from skerry.server.run_clerk import clerk_beside
from skerry.server.stopping import stoppable

__all__ = ["launch", "resume"]


def launch(
    scenario: Scenario,
    *,
    engine: str,
    parent: Path,
    on_folder: Callable[[RunFolder], None] = lambda _: None,
    processes: int = 1,
) -> RunFolder:
    """Run a scenario to its end; blocks.

    Args:
        scenario: what to run.
        engine: ``inprocess``, ``ray`` or ``superlink``; ``fleet``: the enrolled devices of the server that is up.
        parent: folder of runs.
        on_folder: called with the new run's folder before anything else happens in it.
        processes: that answer for devices, of the engine ``inprocess``; results are the same.

    Returns:
        The complete run's folder.

    Raises:
        InputError: the scenario or its data cannot be used; no folder is left.
        RunFailedError: no server is up for a run over its fleet; no folder is left.
        RefusedError: too few devices are enrolled for it (``too_few_enrolled``); no folder is left.
        InterruptedRunError: Ctrl-C or SIGTERM; what was finished is kept and can be shown.
        RunFailedError: the run was tried and failed; its folder says why.
    """
    _end_quickly()
    with collecting_seldom(*IN_A_RUN):
        get_engine(engine, processes=processes).check(
            parent, scenario
        )  # what is not there is told before there is a folder
        with _clerk(processes):
            folder = RunFolder.create(parent, scenario, engine=engine)
            on_folder(folder)
            try:
                return _run(folder, processes)
            except InputError:
                if not folder.rounds():
                    shutil.rmtree(folder.path)  # nothing has run: nothing is left half-written
                raise


def resume(
    name: str, *, parent: Path, on_folder: Callable[[RunFolder], None] = lambda _: None, processes: int = 1
) -> RunFolder:
    """Go on with a run that was interrupted or failed, with its own scenario and engine; blocks.

    Guarantee: no round is opened, debited or released twice, and nothing is delivered twice; in simulation the final
    vector is that of the run if it had never been stopped.

    Args:
        name: the run's id, its folder, or ``latest``.
        parent: folder of runs.
        on_folder: called with the run's folder before it goes on.
        processes: as of :func:`launch`; they need not be as many as before.

    Raises:
        InputError: there is no such run.
        RefusedError: it is complete, is still going on, or has state that is kept nowhere.
        InterruptedRunError, RunFailedError: as :func:`launch`.
    """
    _end_quickly()
    folder = RunFolder.open(name, parent)
    with exclusive(folder.path / "status.json"):  # a backup that copies the run holds it, and so does who goes on too
        reopen(folder)
        get_engine(folder.status["engine"], processes=processes).check(folder.path.parent, folder.scenario)
        if folder.simulated and not (folder.path / "fleet" / "coordinator.json").exists():
            for half in ("fleet", "ledger"):  # of a run that was stopped before its fleet was whole: nobody trained
                shutil.rmtree(folder.path / half, ignore_errors=True)
        folder.mark("preparing", stage="going on", extra={"pid": os.getpid(), "error": None})
    with collecting_seldom(*IN_A_RUN), _clerk(processes):
        on_folder(folder)
        return _run(folder, processes)


def _clerk(processes: int) -> AbstractContextManager[None]:
    """Where a run may have several processes, one is its clerk; forked before anybody else has a thread here."""
    return nullcontext() if processes == 1 else clerk_beside()


def _run(folder: RunFolder, processes: int) -> RunFolder:
    try:
        with recorded(folder), stoppable():
            runner = get_engine(folder.status["engine"], processes=processes)
            if processes == 1:
                prepare(folder, system_clock, process_worker())
            else:
                with Beside() as beside, beside:  # a fleet is made while this process loads what it will need next
                    prepare(folder, system_clock, process_worker(), making=beside.begin)
                    runner.load()
            runner.run(folder)
    except KeyboardInterrupt as error:
        done = len(folder.rounds())
        lost = kept_nowhere(folder.scenario)
        mend = (
            f"go on with `skerry run --resume {folder.id}`" if lost is None else f"run it again: {lost} is on no disk"
        )
        raise InterruptedRunError(
            f"interrupted after {done} of {folder.status['rounds']} rounds",
            where=folder.id,
            mend=mend,
        ) from error
    if folder.status["state"] != "complete":
        fault = folder.status["error"] or {}
        raise RunFailedError(
            fault.get("what") or "the run ended before it was complete",
            where=fault.get("where") or folder.id,
            mend=fault.get("mend") or f"see {folder.path / 'logs'} and `skerry runs show {folder.id}`",
        )
    return folder


@functools.cache
def _end_quickly() -> None:
    """When the process ends, look for no cycles among all that a run has loaded (0.2 to 0.3 s)."""
    atexit.register(gc.freeze)
