"""Starting a run from one machine: make the folder, prepare, hand over to an engine, and tell how it ended."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from skerry.clock import system_clock
from skerry.config import Scenario
from skerry.device.worker import process_worker
from skerry.errors import InputError, InterruptedRunError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.server.conduct import recorded
from skerry.server.engines import get_engine
from skerry.server.prepare import prepare

__all__ = ["launch"]


def launch(
    scenario: Scenario, *, engine: str, parent: Path, on_folder: Callable[[RunFolder], None] = lambda _: None
) -> RunFolder:
    """Run a scenario to its end; blocks.

    Args:
        scenario: what to run.
        engine: ``inprocess``, ``ray`` or ``superlink``.
        parent: folder of runs.
        on_folder: called with the new run's folder before anything else happens in it.

    Returns:
        The complete run's folder.

    Raises:
        InputError: the scenario or its data cannot be used; no folder is left.
        InterruptedRunError: Ctrl-C or SIGTERM; what was finished is kept and can be shown.
        RunFailedError: the run was tried and failed; its folder says why.
    """
    runner = get_engine(engine)
    folder = RunFolder.create(parent, scenario, engine=engine)
    on_folder(folder)
    try:
        with _terminable(), recorded(folder):
            prepare(folder, system_clock, process_worker())
            runner.run(folder)
    except InputError:
        if not folder.rounds():
            shutil.rmtree(folder.path)  # nothing has run: nothing is left half-written
        raise
    except KeyboardInterrupt as error:
        done = len(folder.rounds())
        raise InterruptedRunError(
            f"interrupted after {done} of {scenario.rounds} rounds",
            where=folder.id,
            mend=f"see what was finished with `skerry runs show {folder.id}`",
        ) from error
    if folder.status["state"] != "complete":
        fault = folder.status["error"] or {}
        raise RunFailedError(
            fault.get("what") or "the run ended before it was complete",
            where=fault.get("where") or folder.id,
            mend=fault.get("mend") or f"see {folder.path / 'logs'} and `skerry runs show {folder.id}`",
        )
    return folder


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
