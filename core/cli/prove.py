"""``skerry privacy prove``: one entry of a ledger, with the proof that it is in it, for others to check."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, out

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.privacy.chain import Entry

__all__ = ["prove"]

LEAST = 8  # digits


def prove(
    run: RunName,
    leaf: Annotated[str, typer.Argument(metavar="LEAF", help="The entry's hash, or its first eight digits or more.")],
    *,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a ledger's entry by its hash, and prove that it is included under a signed root.

    Of the coordinator's ledger: under the checkpoint that it signed. Of a device's: under the root that the device
    signed with its receipt. With --json come the leaf's bytes, the path (RFC 9162) and what was signed.
    """
    from rich.text import Text

    from skerry.cli.console import facts
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in

    folder = RunFolder.open(run, runs_in(runs_dir))
    name, entry = _find(folder, leaf)
    document = {"run": folder.id, "ledger": name, "entry": _said(entry), **_proof(folder, name, entry)}
    if as_json:
        emit(document)
        return
    body = "erased" if entry.erased else ", ".join(f"{key} {_short(value)}" for key, value in entry.body.items())
    under = f"entry {entry.seq} of {document['size']}, root {document['root'][:16]}…"
    rows: list[tuple[str, str | Text]] = [
        ("ledger", name),
        ("entry", f"{entry.seq}, {entry.kind}"),
        ("leaf", entry.hash),
        ("says", body or "nothing"),
        ("proved", Text(f"{under}, by a path of {len(document['path'])} hashes", "green")),
        ("signed by", document["signer"] or "nobody: no receipt or checkpoint covers it"),
    ]
    out().print(facts(rows))


def _find(folder: "RunFolder", leaf: str) -> "tuple[str, Entry]":
    """The one entry whose hash begins so, through the index."""
    from skerry.errors import InputError
    from skerry.security.privacy.index import Index
    from skerry.server.ledgers import ledger_paths

    if not re.fullmatch(rf"[0-9a-f]{{{LEAST},64}}", leaf):
        digits = f"give {LEAST} to 64 hexadecimal digits"
        raise InputError(f"{leaf!r} is not the beginning of a leaf's hash", mend=digits)
    paths = ledger_paths(folder)
    with Index(folder.path / "ledger" / "index.sqlite") as index:
        for name, path in paths.items():
            index.refresh(name, path)
        found = [place for place in index.find(leaf) if place.ledger in paths]
        if len(found) != 1:
            raise InputError(
                f"{len(found) or 'no'} entries of this run's ledgers have a hash that begins with {leaf}",
                where=str(folder.path / "ledger"),
                mend="give more digits" if found else "leaves are named by `skerry privacy verify` and in result.json",
            )
        return found[0].ledger, index.read(found[0], paths[found[0].ledger])


def _proof(folder: "RunFolder", name: str, entry: "Entry") -> dict[str, Any]:
    """Inclusion under the oldest signed root that covers the entry, else under the ledger as it stands.

    Raises:
        RefusedError: the proof does not hold.
    """
    from skerry.security.privacy.chain import leaf
    from skerry.security.transparency.merkle import verify_inclusion
    from skerry.server.ledgers import signed_root

    tree, size, root, signer, signed = signed_root(folder, name, entry)
    path = tree.inclusion_proof(entry.seq, size)
    verify_inclusion(bytes.fromhex(entry.hash), entry.seq, size, path, root)
    return {
        "leaf": leaf(entry).hex(),
        "size": size,
        "root": root.hex(),
        "path": [step.hex() for step in path],
        "signer": signer,
        "signed": signed,
    }


def _said(entry: "Entry") -> dict[str, Any]:
    fields = {"seq": entry.seq, "kind": entry.kind, "at": entry.at, "hash": entry.hash, "erased": entry.erased}
    return {**fields, "salt": entry.salt or None, "body": None if entry.erased else dict(entry.body)}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 64 else f"{text[:61]}…"
