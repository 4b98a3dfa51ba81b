"""An operator's decisions at the console: the body of a request in, a decision of the command line out."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import join
from typing import Any

from skerry.clock import Clock
from skerry.errors import InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.server.federation_home import FederationHome
from skerry.server.operations import Decided, Operations
from skerry.server.registry import Registry
from skerry.server.registry.words import plain_words
from skerry.server.running import RunningServer

__all__ = ["ACTIONS", "ElsewhereError", "decide"]

_PUBLISH_S = 300.0


class ElsewhereError(RefusedError):
    """It is not done here; ``command`` does it where the keys are."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__("elsewhere", what)
        self.command = command


def decide(action: str, runs: Path, clock: Clock, by: str, given: Mapping[str, Any]) -> str | None:
    """Make a decision; what of it is not in the federation's log, in a sentence.

    Args:
        action: one of :data:`ACTIONS`.
        runs: the folder of runs.
        clock: ms since the epoch.
        by: who decides.
        given: ``subject`` (a device or a run), ``reason``, and what the action needs besides.

    Raises:
        InputError: something is missing, or there is no such device or run.
        RefusedError: as the command line refuses it; :class:`ElsewhereError` where it is not done here.
        SkerryError: it was tried and failed.
    """
    return ACTIONS[action](Operations(runs, clock, by), given).note


def _approve(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    return operations.approve(*_named(given), fingerprint=_text(given, "fingerprint"))


def _deny(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    return operations.deny(*_named(given))


def _revoke(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    return operations.revoke(*_named(given))


def _quarantine(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    name, reason = _named(given)
    return operations.quarantine(Registry(operations.runs).find(name, _text(given, "scope")), reason)


def _appeal(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    name, reason = _named(given)
    restore = given.get("restore")
    if not isinstance(restore, int | float) or isinstance(restore, bool):
        raise InputError("say which share is taken back, 0 to 1", where="restore")
    found = Registry(operations.runs).find(name, _text(given, "scope"))
    return operations.appeal(found, reason, restore=float(restore))


def _pause(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    name, reason = _named(given)
    return operations.pause(_run(operations, name), reason)


def _resume(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    name, reason = _named(given)
    return operations.resume(_run(operations, name), reason)


def _publish(operations: Operations, given: Mapping[str, Any]) -> Decided[Any]:
    """By the command line itself, where its keys lie beside the repository; else it is said which command does it.

    Only a run over the fleet: what a simulation made is for the devices that were made up for it, and a repository that
    enrolled devices follow has no place for it.
    """
    name, reason = _named(given)
    folder = _run(operations, name)
    reason = plain_words(reason, "reason")  # else it would be published and could not be entered
    if folder.simulated:
        raise RefusedError("simulated", "a simulation's model is not for devices of the fleet", where=folder.id)
    server = RunningServer.read(FederationHome(operations.runs).server)
    repository = operations.runs / "repository" if server is None else Path(server.repository)
    words = ["release", "publish", folder.id, "--repository", str(repository), "--runs-dir", str(operations.runs)]
    words.append("--enrolled")
    command = join(["skerry", *words])
    if not repository.with_name(f"{repository.name}.keys").is_dir():
        raise ElsewhereError("the keys that sign releases are not on this machine; where they are, it is this", command)
    program = [sys.executable, "-m", "skerry.cli", *words, "--json"]
    try:
        done = subprocess.run(program, capture_output=True, timeout=_PUBLISH_S, check=False)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired as error:
        raise ElsewhereError("it took too long here; the command is", command) from error
    if done.returncode:
        raise ElsewhereError(f"it was not published: {_said(done.stdout)}; the command is", command)
    return Decided(json.loads(done.stdout), operations.published(folder, reason))


def _said(output: bytes) -> str:
    try:
        return str(json.loads(output)["error"]["what"])
    except (ValueError, KeyError, TypeError):
        return "no reason was told"


ACTIONS: Mapping[str, Callable[[Operations, Mapping[str, Any]], Decided[Any]]] = {
    "approve": _approve,
    "deny": _deny,
    "revoke": _revoke,
    "quarantine": _quarantine,
    "appeal": _appeal,
    "pause": _pause,
    "resume": _resume,
    "publish": _publish,
}


def _named(given: Mapping[str, Any]) -> tuple[str, str]:
    """Whom or what a decision is about, and why."""
    return _text(given, "subject"), _text(given, "reason")


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is missing", where=name)
    return value


def _run(operations: Operations, name: str) -> RunFolder:
    """A run of the folder by its own name: no path, and not 'latest', which changes."""
    path = operations.runs / name
    if "/" in name or name.startswith(".") or not (path / "status.json").is_file():
        raise InputError(f"there is no run {name!r}", where="subject")
    return RunFolder(path)
