"""A federation to be backed up: with a run that ended, one under way, a log, an authority, and something else."""

from collections.abc import Callable
from pathlib import Path

from skerry.clock import system_clock
from skerry.fsio import write_json
from skerry.runfolder import RunFolder
from skerry.server.backup import Contents, make_backup
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import federation_log
from skerry.server.restoring import Restored, restore_backup
from skerry.server.run_statements import enter_release
from tests.sample_run import build

PASSPHRASE = b"correct horse battery"


def federation(parent: Path) -> Path:
    """A folder with a run that ended, one under way, a log, an authority, and something of somebody else's."""
    runs = parent / "runs"
    build(runs, ("rounds=3",))
    build(runs, ("rounds=3", "name=under-way"), state="running", rounds_done=1)
    FederationHome(runs).authority(now=system_clock(), passphrase=None)
    federation_log(runs)
    assert enter_release(runs, "digits", 1, "ab" * 32, system_clock()) is None
    (runs / "notes.txt").write_text("buy milk")
    return runs


def make(runs: Path, target: Path, **more: Callable[[str], None]) -> Contents:
    return make_backup(runs, target, PASSPHRASE, now=system_clock(), **more)


def restore(folder: Path) -> Restored:
    """What lies in ``kept``, into ``again``."""
    return restore_backup(folder / "kept", folder / "again", PASSPHRASE, now=system_clock())


def say(run: RunFolder, **changes: object) -> None:
    write_json(run.path / "status.json", {**run.status, **changes})


def ended(runs: Path) -> RunFolder:
    (found,) = (one for one in runs.iterdir() if one.name.startswith("digits-"))
    return RunFolder(found)
