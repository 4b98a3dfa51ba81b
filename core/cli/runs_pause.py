"""``skerry runs pause`` and ``resume``: a run waits between two rounds, and goes on."""

from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.console import AsJson, RunName, RunsDir, emit, out
from skerry.cli.fleet.options import By, Reason, operations, tell_note

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.server.operations import Decided
    from skerry.server.pausing import Pause

__all__ = ["pause", "resume"]


def pause(run: RunName, *, reason: Reason, by: By = None, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Let a run wait before its next round, until `skerry runs resume`; the round under way is finished.

    A run that is ended while it waits waits again when `skerry run --resume` takes it up.
    """
    folder = _open(run, runs_dir)
    _tell("paused", folder, operations(by, runs_dir).pause(folder, reason), as_json=as_json)


def resume(
    run: RunName,
    *,
    reason: Reason = "resumed",
    by: By = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused run go on. One that was interrupted goes on by `skerry run --resume`."""
    folder = _open(run, runs_dir)
    _tell("goes on; it was paused", folder, operations(by, runs_dir).resume(folder, reason), as_json=as_json)


def _open(run: str, runs_dir: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in

    return RunFolder.open(run, runs_in(runs_dir))


def _tell(word: str, folder: "RunFolder", decided: "Decided[Pause]", *, as_json: bool) -> None:
    tell_note(decided.note)
    pause = decided.what
    if as_json:
        emit({"run": folder.id, "pause": {"by": pause.by, "why": pause.why, "at": pause.at}})
        return
    out().print(f"{folder.id} {word}, by {pause.by}: {pause.why}", soft_wrap=True)
