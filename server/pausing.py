"""A run that waits between two rounds because somebody said so, until somebody says otherwise.

The word is a file in the run's folder (``pause.json``), so whoever may write there can give it, and a run that is
killed while it waits waits again when it is resumed. The round under way is finished first: its devices have spent
what they were asked to.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from skerry.errors import InputError, RefusedError
from skerry.fsio import write_json
from skerry.runfolder import RunFolder

__all__ = ["PAUSE", "Pause", "go_on", "pause", "paused", "wait_while_paused"]

PAUSE = "pause.json"
_LOOK_S = 0.2
_UNDER_WAY = {"preparing", "running"}


@dataclass(frozen=True)
class Pause:
    """Who let a run wait, why, and when (ms since the epoch)."""

    by: str
    why: str
    at: int


def paused(folder: RunFolder) -> Pause | None:
    """The pause that is on, if one is.

    Raises:
        InputError: the file cannot be read.
    """
    path = _file(folder)
    try:
        return Pause(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError("this is no pause", where=str(path), mend="delete the file; the run goes on") from error


def pause(folder: RunFolder, wanted: Pause) -> None:
    """Let a run wait before its next round.

    Raises:
        RefusedError: it is over, or in its last steps (``not_running``), or waits already (``paused``).
    """
    if folder.state not in _UNDER_WAY:
        raise RefusedError("not_running", f"the run is {folder.state}: nothing is left to wait for", where=folder.id)
    if (known := paused(folder)) is not None:
        raise RefusedError("paused", f"the run is paused already, by {known.by}: {known.why}", where=folder.id)
    write_json(_file(folder), asdict(wanted))


def go_on(folder: RunFolder) -> Pause:
    """Let a paused run go on; returns the pause that was on.

    Raises:
        RefusedError: it is not paused (``not_paused``).
    """
    known = paused(folder)
    if known is None:
        raise RefusedError("not_paused", "the run is not paused", where=folder.id)
    _file(folder).unlink(missing_ok=True)
    return known


def wait_while_paused(folder: RunFolder, *, sleep: Callable[[float], object] = time.sleep) -> None:
    """Return when no pause is on; what the run is at is told in its status meanwhile."""
    if not _file(folder).exists():
        return
    before = folder.status["stage"]
    folder.mark("running", stage="paused")
    while _file(folder).exists():
        sleep(_LOOK_S)
    folder.mark("running", stage=before)


def _file(folder: RunFolder) -> Path:
    return folder.path / PAUSE
