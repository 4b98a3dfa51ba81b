"""Releases that lie in a run's folder: listed, verified, and taken by one of its simulated devices."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.cli.console import emit, facts, note, out, table

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.identity import PublicIdentity

__all__ = ["fetch_from_run", "list_runs_releases", "verify_folder"]

PUBLISHER = Path("fleet", "coordinator.public.json")


def list_runs_releases(runs_dir: Path | None, *, as_json: bool) -> None:
    """Print the releases of all runs; each is verified."""
    from rich.text import Text

    from skerry.runfolder import list_runs
    from skerry.runfolder import runs_dir as runs_in

    parent = runs_in(runs_dir)
    rows = [_row(folder) for folder in list_runs(parent) if (folder.path / "release" / "manifest.cbor").is_file()]
    if as_json:
        emit({"runs_dir": str(parent), "releases": rows})
        return
    if not rows:
        note().print(Text(f"there are no releases in {parent}; a run makes one when it is complete"), soft_wrap=True)
        return
    shown = table(f"releases in {parent}", ["run", "model", "version", "files", "verified"], right=["version"])
    for row in rows:
        files = ", ".join(file["name"] for file in row["files"])
        good = Text("holds", "green") if row["problem"] is None else Text(row["problem"], "red")
        shown.add_row(row["run"], Text(row["name"] or "–"), str(row["version"] or "–"), Text(files), good)
    out().print(shown)


def verify_folder(release: str, publisher: Path | None, runs_dir: Path | None, *, as_json: bool) -> None:
    """Check the signature of a run's release, and that everything in it is what was signed."""
    from skerry.security.delivery import verify as check
    from skerry.wording import amount, size

    folder, public = _locate(release, publisher, runs_dir)
    info = check(folder, publisher=public)
    if as_json:
        emit({"ok": True, "path": str(folder), **info.to_json()})
        return
    manifest = info.manifest
    console = out()
    console.print(
        facts(
            [
                ("release", f"{manifest.name} version {manifest.version}"),
                ("made by", f"run {manifest.run}"),
                ("signed by", f"{public.name}: holds"),
                ("files", ", ".join(f"{file.name} ({size(file.size)})" for file in manifest.files)),
                ("encrypted for", amount(len(info.recipients), "device") + ": " + ", ".join(info.recipients)),
                ("size", f"{size(info.total_bytes)}; one device fetches {size(info.device_bytes)}"),
                ("manifest", manifest.digest),
            ]
        )
    )


def fetch_from_run(run: str, device: str, to: Path, runs_dir: Path | None, *, as_json: bool) -> None:
    """Verify, decrypt and install a run's release as one of its simulated devices would."""
    from rich.text import Text

    from skerry.errors import InputError
    from skerry.security.delivery import fetch as take
    from skerry.security.identity import Identity
    from skerry.wording import size

    folder = _open(run, runs_dir)
    homes = {path.parent.name: path.parent for path in (folder.path / "fleet").glob("*/identity.json")}
    if device not in homes:
        known = ", ".join(sorted(homes)[:14])
        raise InputError(
            f"this run has no device {device!r}", where=folder.id, mend=f"its devices are: {known}" if known else None
        )
    home = homes[device]
    installed = take(
        folder.path / "release",
        to,
        device=Identity.load(home / "identity.json"),
        publisher=_public(folder.path / PUBLISHER),
        state=home / "release.json",
    )
    if as_json:
        emit({"run": folder.id, "device": device, "files": {name: str(path) for name, path in installed.items()}})
        return
    for path in installed.values():
        out().print(Text(f"{path}  ({size(path.stat().st_size)})"), soft_wrap=True)


def _open(run: str, parent: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(run, runs_dir(parent))


def _locate(name: str, publisher: Path | None, parent: Path | None) -> "tuple[Path, PublicIdentity]":
    from skerry.errors import InputError

    as_path = Path(name)
    if not (as_path / "manifest.cbor").is_file():
        run = _open(name, parent)
        return run.path / "release", _public(publisher or run.path / PUBLISHER)
    beside = as_path.resolve().parent / PUBLISHER
    if publisher is None and not beside.is_file():
        raise InputError(
            "whose signature should this release have?",
            where=str(as_path),
            mend="name the publisher's public identity with --publisher FILE",
        )
    return as_path, _public(publisher or beside)


def _public(path: Path) -> "PublicIdentity":
    from skerry.errors import InputError
    from skerry.security.identity import PublicIdentity

    try:
        return PublicIdentity.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError("there is no public identity of the publisher", where=str(path)) from error
    except ValueError as error:
        raise InputError(f"this is not a public identity: {error}", where=str(path)) from error


def _row(folder: "RunFolder") -> dict[str, Any]:
    from skerry.errors import SkerryError
    from skerry.security.delivery import verify as check

    row: dict[str, Any] = {"run": folder.id, "name": None, "version": None, "files": [], "digest": None}
    try:
        manifest = check(folder.path / "release", publisher=_public(folder.path / PUBLISHER)).manifest
    except SkerryError as error:
        return {**row, "problem": error.what}
    return {
        **row,
        "name": manifest.name,
        "version": manifest.version,
        "files": [{"name": file.name, "bytes": file.size} for file in manifest.files],
        "digest": manifest.digest,
        "problem": None,
    }
