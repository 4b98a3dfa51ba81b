"""What all engines share: their one method, the apps they run, the fleet they find, logs, and a child's environment."""

import importlib
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skerry.config import Scenario
from skerry.errors import InputError, InterruptedRunError, MissingDependencyError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.server.engines import flwr_adapter

__all__ = [
    "Components",
    "Engine",
    "child_environment",
    "coordinator_failed",
    "fleet_homes",
    "is_complete",
    "logging_to",
    "logs",
    "remove_folder",
]

_PASSPHRASE = re.compile(r"SKERRY_(\w+_)?PASSPHRASE")


class Engine(Protocol):
    """Runs a prepared run folder to its end."""

    name: str

    def check(self, runs: Path, scenario: Scenario) -> None:
        """Return when a run in this folder of runs can be begun, as far as can be told without beginning it.

        Raises:
            RunFailedError: a program is missing that the engine does not start itself.
            RefusedError: devices are missing that it does not make itself.
            ScenarioError: it cannot run this scenario.
        """
        ...

    def load(self) -> None:
        """Load here what :meth:`run` needs in this process, which it does itself where nobody did before.

        Raises:
            MissingDependencyError: Flower is missing, or has a version that is not supported.
        """
        ...

    def run(self, folder: RunFolder) -> None:
        """Run the coordinator of ``folder`` with one node for each device in ``folder/fleet``.

        Returns when the coordinator has returned. Nothing that the engine started outlives the call: no process, no
        port, no environment variable.

        Raises:
            InputError: the folder has no fleet.
            MissingDependencyError: Flower or Ray is missing, or has a version that is not supported.
            RunFailedError: the coordinator or the machinery under it failed; names the log.
            KeyboardInterrupt: a person stopped it. Everything is stopped before it leaves.
        """
        ...


@dataclass(frozen=True)
class Components:
    """Where the two apps are, as ``module:attribute``, the form that Flower uses."""

    server: str = "skerry.server.app:app"
    client: str = "skerry.device.app:app"

    def load(self) -> tuple[Any, Any]:
        """Import the ``ServerApp`` and the ``ClientApp``.

        Raises:
            MissingDependencyError: a package they need is not installed.
        """
        return _load(self.server), _load(self.client)


def fleet_homes(folder: RunFolder) -> list[Path]:
    """The homes of the run's devices, sorted by device name.

    Raises:
        InputError: the run has no prepared device.
    """
    homes = sorted(path.parent for path in (folder.path / "fleet").glob("*/device.json"))
    if not homes:
        raise InputError("the run has no prepared devices", where=str(folder.path / "fleet"), mend="start a new run")
    return homes


def logs(folder: RunFolder) -> Path:
    """``runs/<id>/logs``, made when missing."""
    path = folder.path / "logs"
    path.mkdir(parents=True, exist_ok=True)
    return path


class _QuietFile(logging.FileHandler):
    """A log that cannot be written, on a full disk, is lost: what ended the run is told in one message elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing."""


@contextmanager
def logging_to(path: Path, *names: str) -> Iterator[None]:
    """Send these loggers to a file and nowhere else, for the time of a block."""
    handler = _QuietFile(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    try:
        for logger in loggers:
            logger.handlers[:] = [handler]
            logger.propagate = False
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate
        with suppress(OSError):  # what was not written yet has no room either
            handler.close()


def remove_folder(path: Path) -> None:
    """Remove a temporary folder even while a process that was just killed still writes its last into it."""
    for _ in range(50):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1)


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """This process's environment for a child: it imports what we import, finds our programs, computes in one thread.

    Passphrases of ours are not in it: no child opens our keys.

    Args:
        values: what is set besides.
    """
    return {
        **{name: value for name, value in os.environ.items() if not _PASSPHRASE.fullmatch(name)},
        **flwr_adapter.QUIET,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # Flower's programs start one another by name: they must find those of this environment.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        **values,
    }


def is_complete(folder: RunFolder) -> bool:
    """Whether the coordinator has written down, as its last act, that the run is complete.

    It knows best: what happens to its process afterwards, while Flower reports its end over a busy network, costs the
    run nothing.
    """
    return bool(folder.status["state"] == "complete")


def coordinator_failed(folder: RunFolder, details: str, log: Path) -> RunFailedError:
    """The error for a coordinator that ended in another process: what it wrote down itself, else these details."""
    fault = folder.status.get("error") or {}
    kind = InterruptedRunError if folder.status["state"] == "interrupted" else RunFailedError
    return kind(
        fault.get("what") or f"the coordinator failed: {details}",
        where=fault.get("where") or str(log),
        mend=fault.get("mend") or f"see {log}",
    )


def _load(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed", where=reference, mend="pip install 'skerry[server]'"
        ) from error
