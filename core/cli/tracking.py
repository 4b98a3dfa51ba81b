"""A run in MLflow: while it goes on (``skerry run --mlflow``), or afterwards (``skerry runs log-mlflow``)."""

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, note, out

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.server.mlflow_log import MlflowLog

__all__ = ["MlflowOption", "Tracker", "chosen_log", "log_mlflow"]

MlflowOption = Annotated[
    bool, typer.Option("--mlflow", help="Log to MLflow while it runs; where is said by MLFLOW_TRACKING_URI.")
]

_PATIENCE = {
    # One does not wait for seven tries of two minutes each, and what is not there now is brought later.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_EVERY_S = 1.0
_AGAIN_S = 30.0  # after a store took nothing
_LAST_S = 30.0


def log_mlflow(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Log a run to MLflow: parameters, metrics by round, report; what is there already is not logged twice.

    MLFLOW_TRACKING_URI says where, MLFLOW_EXPERIMENT_NAME in which experiment (else that of the scenario's name).
    """
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in

    log = chosen_log()
    folder = RunFolder.open(run, runs_in(runs_dir))
    identifier = log.bring(folder)
    if as_json:
        emit({"run": folder.id, "mlflow_run": identifier, "rounds": len(folder.rounds()), "state": folder.state})
        return
    out().print(f"{folder.id} is MLflow's run {identifier}", highlight=False, soft_wrap=True)


def chosen_log() -> "MlflowLog":
    """Where the environment says.

    MLflow tells its makers nothing, writes nothing to standard output and gives a server up after seconds, unless the
    environment says otherwise: it reads all this from there, and nowhere else.

    Raises:
        InputError: it says nothing.
        MissingDependencyError: the extra is not installed.
    """
    from skerry.errors import InputError, MissingDependencyError

    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        raise InputError(
            "nothing says where MLflow is",
            where="MLFLOW_TRACKING_URI",
            mend="set it, such as to http://127.0.0.1:5000 or sqlite:////path/to/mlflow.db",
        )
    for name, value in {**_PATIENCE, **_QUIET}.items():
        os.environ.setdefault(name, value)
    try:
        from skerry.server.mlflow_log import MlflowLog
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed", where="MLflow", mend="pip install 'skerry[mlflow]'"
        ) from error
    return MlflowLog(uri, os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or None)


class Tracker:
    """Brings a run to MLflow while the main thread is busy with it, and what is left when its block is left.

    A store that takes nothing is told of once, tried again after half a minute, and told of at the end if it still
    does not: the run goes on. What goes on at the end is waited for ``patience_s``, and what failed last is not tried
    again then.
    """

    def __init__(self, log: "MlflowLog", patience_s: float = _LAST_S) -> None:
        self._log, self._patience_s = log, patience_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._folder: RunFolder | None = None
        self._fault: str | None = None
        self._told = False

    def watch(self, folder: "RunFolder") -> None:
        """Start with this run."""
        self._folder = folder
        self._thread = threading.Thread(target=self._follow, args=(folder,), name="mlflow", daemon=True)
        self._thread.start()

    def _follow(self, folder: "RunFolder") -> None:
        self._until_over(folder)
        if self._fault is None and folder.path.is_dir():  # of a scenario that could not be used nothing is left
            self._fault = self._bring(folder)

    def _until_over(self, folder: "RunFolder") -> None:
        brought, wait_until = -1, 0.0
        while not self._stop.wait(_EVERY_S):
            done = len(folder.rounds())
            if done == brought or time.monotonic() < wait_until:
                continue
            self._fault = self._bring(folder)
            if self._fault is None:
                brought = done
                continue
            wait_until = time.monotonic() + _AGAIN_S
            if not self._told:
                self._told = True
                _tell(f"{self._fault}; the run goes on, and this is tried again")

    def _bring(self, folder: "RunFolder") -> str | None:
        """What went wrong."""
        from skerry.errors import NotTrackedError

        try:
            self._log.bring(folder)
        except NotTrackedError as error:
            return error.what
        except Exception as error:  # noqa: BLE001 - MLflow and its stores raise what they like; a run is not lost because its log could not be written
            return f"MLflow failed: {type(error).__name__}: {self._log.told(error)}"
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is None or self._folder is None:
            return
        self._thread.join(self._patience_s)
        fault = "MLflow does not answer" if self._thread.is_alive() else self._fault
        if fault is not None and self._folder.path.is_dir():
            _tell(f"{fault}; later: `skerry runs log-mlflow {self._folder.id}`")


def _tell(sentence: str) -> None:
    note().print(sentence, style="yellow", highlight=False, soft_wrap=True)
