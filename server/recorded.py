"""How a run ended, in its ``status.json``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

from skerry.errors import DiskFullError, SkerryError
from skerry.forking import signals_later
from skerry.runfolder import RunFolder, State
from skerry.server.stopping import was_told

__all__ = ["recorded"]


@contextmanager
def recorded(folder: RunFolder, *, but: tuple[type[SkerryError], ...] = ()) -> Iterator[None]:
    """Write into ``status.json`` how a block ended, when it did not end well; the exception goes on.

    Args:
        folder: the run.
        but: errors that are not the run's end: its engine goes on after them, or says that it does not.
    """
    try:
        yield
    except KeyboardInterrupt:
        _mark(folder, "interrupted", _INTERRUPTED)
        raise
    except SystemExit as end:
        # Flower turns the signals that stop its processes into an exit with code 0; with another it gives up.
        told = {"what": f"the coordinator's process was ended (exit code {end.code})", "where": None, "mend": None}
        _mark(folder, *(("failed", told) if end.code else ("interrupted", _INTERRUPTED)))
        raise
    except but:
        raise
    except SkerryError as error:
        _mark(
            folder,
            "failed",
            {"what": error.what, "where": error.where, "mend": error.mend, "exit_code": error.exit_code},
        )
        raise
    except BaseException as error:
        _mark(folder, "failed", {"what": f"{type(error).__name__}: {error}", "where": None, "mend": None})
        raise


_INTERRUPTED: Mapping[str, object] = MappingProxyType({"what": "the run was interrupted", "where": None, "mend": None})


def _mark(folder: RunFolder, state: State, error: Mapping[str, object]) -> None:
    with signals_later():  # another Ctrl-C would leave a run that goes on for as long as this program does
        if folder.status["state"] in {"interrupted", "failed", "complete"}:
            return
        if was_told():  # whatever a library has made of that
            state, error = "interrupted", _INTERRUPTED
        with suppress(DiskFullError):  # no room for this word either: then the process's end tells (RunFolder.state)
            folder.mark(state, stage=folder.status["stage"], error=dict(error))
