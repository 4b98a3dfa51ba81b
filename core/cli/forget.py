"""``skerry privacy forget``: a device's name goes from a run's ledger and the registry, and every proof stays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, note, out

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder

__all__ = ["forget"]


def forget(
    run: RunName,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Whose name is to be forgotten.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Erase a device's name and key from a run's population ledger, and its name from the registry; every proof stays.

    What was spent stays: a device's own ledger is not touched. The receipts that the device gave remain and can no
    longer be told to be its own. In the registry, what was judged stays under an alias. Other files of the run may name
    the device too; they are listed, and not changed. A device that was enrolled is named by registry and log until
    `skerry fleet forget`.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.privacy.ledger import Ledger
    from skerry.server.device_statements import log_names
    from skerry.server.ledgers import POPULATION, Ledgers

    folder = RunFolder.open(run, runs_in(runs_dir))
    ledgers = Ledgers.of(folder)
    found = [entry.seq for entry in ledgers.of_kind("member") if entry.body.get("device") == device]
    if not found:
        named = sorted(str(entry.body.get("device")) for entry in ledgers.of_kind("member"))
        raise InputError(
            f"the ledger of this run names no device {device!r}",
            where=str(folder.path / "ledger"),
            mend=f"it names {', '.join(named[:6])}" if named else "its devices have no names any more",
        )
    if not yes:
        if as_json:
            raise InputError("what is erased does not come back", mend="add --yes")
        typer.confirm(f"Erase the name of {device} from the ledger of {folder.id}? It does not come back", abort=True)
    with Ledger.open(ledgers.paths[POPULATION]) as ledger:
        erasure = ledger.erase(found, system_clock())
    alias = _registry_forgets(folder, device)
    left, enrolled = _naming(folder.path, device), log_names(folder.path.parent, device)
    if as_json:
        emit({
            "run": folder.id, "device": device, "erased": found, "erasure": erasure.hash, "alias": alias,
            "still_named_in": left, "log_names_it": enrolled,
        })  # fmt: skip
        return
    entries = ", ".join(map(str, found))
    out().print(f"erased from the ledger of {folder.id}: entry {entries} (erasure {erasure.hash[:12]})")
    if alias is not None:
        said = f"erased from the registry, where what is left of it is called {alias}; a quarantine stays with that"
        out().print(said, soft_wrap=True)
    if left:
        note().print(f"other files of this run still name {device}: {', '.join(left)}", style="yellow")
    if enrolled:
        said = f"the federation's log says that {device} was enrolled; `skerry fleet forget {device}` erases it there"
        note().print(said, style="yellow", soft_wrap=True)


def _registry_forgets(folder: "RunFolder", device: str) -> str | None:
    """The alias in the registry beside the run; None where the registry does not know the device."""
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.server.registry import Registry, scope_of

    if not folder.simulated:
        return None  # an enrolled device is more than a part of this run: `skerry fleet forget` is its own decision
    registry = Registry(folder.path.parent)
    try:
        found = registry.find(device, scope_of(folder.scenario).name)
    except InputError:
        return None
    return registry.forget(found, by="skerry privacy forget", now=system_clock())


def _naming(folder: Path, device: str) -> list[str]:
    """Files whose name or content holds the device's name, relative to the run's folder."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and (device in {*inside.parts, path.stem} or device.encode() in path.read_bytes()):
            found.append(str(inside))
    return found
