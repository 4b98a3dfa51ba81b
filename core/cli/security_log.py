"""``skerry security log``: what a federation can be held to, and proofs of single entries for anybody."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

if TYPE_CHECKING:
    from skerry.security.privacy.chain import Entry
    from skerry.security.transparency.proof import LogProof

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The federation's log: what was said, in order, and proofs of it.")


@app.callback()
def log() -> None:
    """The federation's log: what was said, in order, and proofs of it."""


@app.command("list")
def show(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Check the whole log and show its entries, its checkpoint and the key that others check it by.

    What witnesses read of it is checked too, and written again where it is lost or altered.
    """
    from rich.text import Text

    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.federation_log import federation_log

    found = federation_log(runs_in(runs_dir), create=False)
    again = found.publish_again()
    entries, state = found.entries(), found.checkpoint()
    if as_json:
        told = [_entry(one) for one in entries]
        head = {"key": str(found.key), "size": state.size, "root": state.root.hex(), "published_again": again}
        emit({**head, "entries": told})
        return
    if again:
        note().print("what witnesses read was lost or altered in part, and is written again")
    shown = table(f"{found.key.name}: {state.size} entries, all checked", ["", "when", "kind", "what"], right=[""])
    for one in entries:
        when = datetime.fromtimestamp(one.at / 1000, tz=UTC).isoformat(sep=" ", timespec="seconds")
        shown.add_row(str(one.seq), when[:19], one.kind, Text(_what(one)))
    out().print(shown)
    out().print(Text(f"root  {state.root.hex()}\nkey   {found.key}", style="dim"), soft_wrap=True)


@app.command()
def prove(
    number: Annotated[int, typer.Argument(help="Of the entry, as `skerry security log list` shows it.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the proof.")],
    *,
    device: Annotated[
        str | None, typer.Option("--device", help="Show what this device was sent, where the entry is a round's.")
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that an entry is in the log, with what it says; it tells nothing of any other.

    Of a round's instructions an entry says nothing but a root; --device shows one of them, and none of the others.
    """
    from skerry.fsio import write_json
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.federation_log import federation_log
    from skerry.server.run_statements import instruction_of

    runs = runs_in(runs_dir)
    found = federation_log(runs, create=False)
    proof = found.prove(number)
    if device is not None:
        proof = replace(proof, opening=instruction_of(runs, proof.entry, device))
    write_json(file, proof.to_json(), durable=False)
    if as_json:
        emit({"file": str(file), "key": str(found.key)})
        return
    note().print(f"proof of entry {number} in {file}; check it: skerry security log verify {file} --key {found.key}")


@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A proof that `prove` wrote, or a run's `log_proofs.json`.")
    ],
    *,
    key: Annotated[str, typer.Option(help="The log's verifier key, from somebody who is trusted.")],
    as_json: AsJson = False,
) -> None:
    """Check a proof with nothing but the log's key; exit code 3 when it proves nothing."""
    from rich.text import Text

    from skerry.errors import InputError
    from skerry.security.transparency.note import NoteKey
    from skerry.security.transparency.proof import LogProofs

    try:
        value: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"there is no proof in this file: {error}", where=str(file)) from error
    proofs = LogProofs.from_json(value)
    state = proofs.verify(NoteKey.parse(key))
    told = [_proved(proof) | {"log": state.origin, "size": state.size} for proof in proofs.each]
    if as_json:
        emit({"proofs": told} if "proofs" in value else told[0])
        return
    for proof, one in zip(proofs.each, told, strict=True):
        what = _what(proof.entry)
        out().print(Text(f"entry {one['number']} of {state.origin}, which had {state.size}: {one['kind']}, {what}"))
        if one["sent"] is not None:
            out().print(Text("{device} was sent {digest}".format_map(one["sent"])), soft_wrap=True)


def _proved(proof: "LogProof") -> dict[str, Any]:
    opened = proof.opening
    sent = None if opened is None else {"device": opened.device, "digest": opened.digest.hex()}
    return {"sent": sent, **_entry(proof.entry)}


@app.command()
def copy(
    gateway: Annotated[str, typer.Argument(metavar="GATEWAY", help="Its address, https://…")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the copy lies, or shall.")],
    *,
    home: HomeOption,
    key: Annotated[str, typer.Option(help="The log's verifier key, from somebody who is trusted.")],
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the published log from a gateway, as an auditor who was enrolled in --home (`fleet invite --role auditor`).

    What comes has the root that the log's key has signed, or is refused. It holds hashes and no names; give the copy to
    `skerry privacy witness DIR --key KEY`, which demands that the log has only grown.
    """
    from rich.text import Text

    from skerry.cli.gateway_source import gateway_source
    from skerry.device.service import copy_log
    from skerry.security.transparency.note import NoteKey

    signer = NoteKey.parse(key)
    with gateway_source(gateway, home, open_store(home, key_file)) as source:
        state = copy_log(source, signer, folder)
    if as_json:
        emit({"folder": str(folder), "log": state.origin, "size": state.size, "root": state.root.hex()})
        return
    out().print(Text(f"{state.origin} has {state.size} entries, root {state.root.hex()}"), soft_wrap=True)
    note().print(f"did it only grow? skerry privacy witness {folder} --key {key}", soft_wrap=True)


def _entry(entry: "Entry") -> dict[str, Any]:
    return {"number": entry.seq, "at": entry.at, "kind": entry.kind, "body": dict(entry.body)}


def _what(entry: "Entry") -> str:
    """An entry in a line."""
    if entry.erased:
        return "(erased)"
    return ", ".join(f"{name} {value}" for name, value in entry.body.items())
