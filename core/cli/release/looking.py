"""``skerry release list`` and ``verify``: what was published, and whether it is whole and authentic."""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, facts, out, table
from skerry.cli.release.options import manifests, open_repository
from skerry.cli.release.runs import list_runs_releases, verify_folder

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.delivery.manifest import Manifest

__all__ = ["list_", "verify"]


def list_(
    *,
    repository: Annotated[
        Path | None, typer.Option("--repository", metavar="DIR", help="List a repository's releases, not the runs'.")
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """List the releases of all runs, each verified; or the versions in a repository."""
    if repository is None:
        list_runs_releases(runs_dir, as_json=as_json)
        return
    from skerry.wording import size

    opened = open_repository(repository)
    rows = [_row(manifest) for model in opened.models for manifest in manifests(opened, model).values()]
    if as_json:
        emit({"repository": str(repository), "releases": rows})
        return
    shown = table(
        f"releases in {repository}", ["model", "version", "run", "files", "download"], right=["version", "download"]
    )
    for row in rows:
        files = ", ".join(row["files"])
        shown.add_row(row["model"], str(row["version"]), row["run"], files, size(row["full_bytes"]))
    out().print(shown)


def verify(
    release: Annotated[str, typer.Argument(metavar="RUN|DIR", help="A run, the folder of a release, or a repository.")],
    *,
    publisher: Annotated[
        Path | None, typer.Option("--publisher", help="The publisher's public identity (JSON), for a folder.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Root that you trust, for a repository \\[default: DIR.root.json].")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Hold a repository's statements to this run: ledger, result, files."),
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Check signatures, and that everything is what was signed; decrypts nothing.

    Of a repository: as a device would, from the root on; then every blob of each model's newest version, and its
    statement, which ties it to a run. With --run that is looked at too: the statement's files, result, evaluation,
    privacy claim and ledger head are the run's, and its ledger extends the checkpoint that was signed.
    """
    if not (Path(release) / "metadata" / "timestamp.json").is_file():
        verify_folder(release, publisher, runs_dir, as_json=as_json)
        return
    folder = Path(release)
    held = None
    if run is not None:
        from skerry.runfolder import RunFolder
        from skerry.runfolder import runs_dir as runs_in

        held = RunFolder.open(run, runs_in(runs_dir))
    found = _all_verified(folder, root, held)
    if as_json:
        emit({"ok": True, "path": str(folder), "models": found})
        return
    for model in found:
        rows = [
            ("release", f"{model['model']} version {model['version']}"),
            ("made by", f"run {model['run']}, ledger head {model['ledger_head'] or 'no evidence'}"),
            ("evaluated", ", ".join(f"{k} {v:.4g}" for k, v in model["evaluation"].items()) or "no evidence"),
            ("sealed for", ", ".join(model["recipients"])),
            ("blobs", f"{model['blobs']}, each as signed"),
            *([("evidence", f"that of run {model['run']}, as it lies here")] if model["held_to_run"] else []),
        ]
        out().print(facts(rows))


def _row(manifest: "Manifest") -> dict[str, Any]:
    return {
        "model": manifest.name,
        "version": manifest.version,
        "run": manifest.run,
        "created": manifest.created,
        "files": [file.name for file in manifest.files],
        "full_bytes": sum(file.blob_size for file in manifest.files),
        "digest": manifest.digest,
    }


def _all_verified(folder: Path, root: Path | None, run: "RunFolder | None") -> list[dict[str, Any]]:
    """Every model that the targets role signed for, from the trusted root on; what nobody signed says nothing."""
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.security.delivery.client import FolderSource
    from skerry.security.delivery.client.trust import Trust

    anchor = root or folder.resolve().with_name(f"{folder.resolve().name}.root.json")
    if not anchor.is_file():
        raise InputError("which root do you trust?", where=str(anchor), mend="name it with --root FILE")
    with tempfile.TemporaryDirectory(prefix="skerry-verify-") as home:
        trust, source = Trust(Path(home), anchor.read_bytes(), system_clock), FolderSource(folder)
        models = trust.models(source)
        if not models:
            raise InputError(
                "the repository has no model: nothing to verify", where=str(folder), mend="publish one, or name another"
            )
        found = [_verified(folder, model, trust.newest(source, model).manifest, run) for model in models]
    if run is not None and not any(model["held_to_run"] for model in found):
        runs = ", ".join(sorted({model["run"] for model in found}))
        raise InputError(f"no release here is of run {run.id}", where=str(folder), mend=f"they are of: {runs}")
    return found


def _verified(folder: Path, model: str, trusted: bytes, run: "RunFolder | None") -> dict[str, Any]:
    """What is said of a model whose manifest is trusted, and that its blobs and statement are those that it names."""
    from skerry.security.delivery.manifest import Manifest
    from skerry.security.delivery.repository import read_statement, recipients_of

    manifest = Manifest.from_bytes(trusted)
    opened = open_repository(folder)
    blobs = {file.blob: file.blob_size for file in manifest.files}
    blobs |= {delta.blob: delta.blob_size for delta in manifest.deltas}
    for name, length in blobs.items():
        _check_blob(folder / "blobs" / name, length)
    statement = opened.read_target(model, f"{model}/statement.json")
    stated = read_statement(statement, manifest, opened.public_keys(model))
    held = run is not None and run.id == manifest.run
    if run is not None and held:
        from skerry.server.provenance import check_against_run

        check_against_run(manifest, stated, run)
    return {
        **_row(manifest),
        "recipients": recipients_of(folder, manifest),
        "blobs": len(blobs),
        "ledger_head": stated.ledger_head,
        "evaluation": dict(stated.evaluation),
        "rolled_back_to": stated.rolled_back_to,
        "held_to_run": held,
    }


def _check_blob(path: Path, length: int) -> None:
    from skerry.errors import ReleaseRefusedError
    from skerry.security.delivery import ReleaseRefusal

    if not path.is_file():
        raise ReleaseRefusedError(ReleaseRefusal.BLOB_MISSING, "a blob is missing", where=str(path))
    with path.open("rb") as blob:
        same = path.stat().st_size == length and hashlib.file_digest(blob, "sha256").hexdigest() == path.name
    if not same:
        raise ReleaseRefusedError(ReleaseRefusal.BLOB_ALTERED, "a blob is not the one that was signed", where=str(path))
