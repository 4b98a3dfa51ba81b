"""``skerry privacy witness``: remember the state of a run's ledgers where their writers cannot reach it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, fail, out, table

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.transparency.checkpoint import Checkpoint
    from skerry.server.ledgers import Ledgers

__all__ = ["Memory", "memory_folder", "remembered", "witness"]

Memory = Annotated[
    Path | None,
    typer.Option(
        "--memory", help="The witness's memory \\[default: $SKERRY_WITNESS_DIR, else ~/.local/share/skerry/witness]."
    ),
]


def memory_folder(chosen: Path | None) -> Path:
    """Where the witness remembers."""
    given = chosen or os.environ.get("SKERRY_WITNESS_DIR")
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(given or Path(data) / "skerry" / "witness").expanduser().resolve()


def remembered(folder: "RunFolder", memory: Path | None) -> "dict[str, Checkpoint]":
    """For each ledger of a run that the witness saw, its last state then."""
    from urllib.parse import quote, unquote

    from skerry.security.transparency.witness import Witness

    place, prefix = memory_folder(memory), quote(f"{folder.id}/", safe="")
    names = [path.name.removesuffix(".json") for path in sorted(place.glob(f"{prefix}*.json"))]
    found: dict[str, Checkpoint] = {}
    for name in names:
        if ".refused-" in name:
            continue
        seen = Witness(place).recall(unquote(name))
        if seen is not None:
            found[unquote(name).removeprefix(f"{folder.id}/")] = seen.checkpoint
    return found


def witness(
    run: RunName,
    *,
    key: Annotated[
        str | None, typer.Option(help="For a published log instead of a run: its signer's verifier key.")
    ] = None,
    memory: Memory = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Remember how far each ledger of a run has come, and demand proof that it has only grown since the last time.

    The coordinator's ledger is taken at the checkpoint that it signed. Call it now and then, as another user or on
    another machine than the one that writes the ledgers; `skerry privacy verify` then holds them to what is remembered.
    Ends with exit code 3 when a ledger does not extend what was seen before; what was seen before stays.

    With --key, RUN is the folder of a published log (ledger/published of a run, or a copy of it): checkpoint and tiles,
    which say nothing of what the entries hold.
    """
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in

    place = memory_folder(memory)
    if key is not None:
        name, row = _published(Path(run), key, place)
        _say(name, [row], place, Path(run), signer=key, as_json=as_json)
        return
    folder = RunFolder.open(run, runs_in(runs_dir))
    rows, signer = _run(folder, memory, place)
    _say(folder.id, rows, place, folder.path / "ledger", signer=signer, as_json=as_json)


def _run(folder: "RunFolder", memory: Path | None, place: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Each ledger of a run, and the coordinator's verifier key."""
    from skerry.errors import RefusedError
    from skerry.server.ledgers import POPULATION, Ledgers, coordinator_key, published_checkpoint

    ledgers = Ledgers.of(folder)
    rows: list[dict[str, Any]] = []
    for name in ledgers.paths:
        row: dict[str, Any] = {"ledger": name, "before": None, "now": None, "signed": False, "problem": None}
        rows.append(row)
        try:
            note = published_checkpoint(folder) if name == POPULATION else None
            row |= _witnessed(folder, ledgers, name, note, place)
        except RefusedError as refusal:
            row["problem"] = refusal.what
    gone = {"before": None, "now": None, "signed": False, "problem": "it was seen before, and is gone"}
    rows += [{"ledger": name} | gone for name in sorted(remembered(folder, memory).keys() - ledgers.paths.keys())]
    if POPULATION not in ledgers.paths:
        return rows, None
    return rows, str(coordinator_key(folder))


def _say(of: str, rows: list[dict[str, Any]], place: Path, where: Path, *, signer: str | None, as_json: bool) -> None:
    from rich.text import Text

    from skerry.errors import LedgerCorruptError

    bad = [row["ledger"] for row in rows if row["problem"]]
    document = {"run": of, "memory": str(place), "key": signer, "ok": not bad, "ledgers": rows}
    if not as_json:
        figures = ["before", "now"]
        shown = table(f"ledgers of {of}, witnessed", ["", "ledger", *figures, "finding"], right=figures)
        for row in rows:
            good = not row["problem"]
            first = "seen for the first time" if row["before"] is None else "has only grown"
            said = (first + (", signed" if row["signed"] else "")) if good else row["problem"]
            shown.add_row(
                Text("✓", "green") if good else Text("✗", "red"),
                Text(row["ledger"]),
                "–" if row["before"] is None else str(row["before"]),
                "–" if row["now"] is None else str(row["now"]),
                Text(said),
            )
        out().print(shown)
        out().print(Text(f"remembered in {place}", style="dim"))
        if signer is not None:
            out().print(Text(f"signer  {signer}", style="dim"))
    if bad:
        error = LedgerCorruptError(
            "not_an_extension",
            f"{len(bad)} of {len(rows)} ledgers do not extend what was seen before: {', '.join(bad[:6])}",
            where=str(where),
            mend="ask their writer for the ledgers that were seen; what was refused is kept beside the memory",
        )
        fail(error, document, as_json=as_json)
    if as_json:
        emit(document)


def _witnessed(
    folder: "RunFolder", ledgers: "Ledgers", name: str, signed: "tuple[Checkpoint, str] | None", place: Path
) -> dict[str, Any]:
    """Take one ledger's state.

    Raises:
        RefusedError: its chain does not hold, or it does not extend what is remembered, or what was signed.
    """
    from skerry.errors import RefusedError
    from skerry.security.privacy.verification import verify_ledger
    from skerry.security.transparency.witness import Seen, Witness

    report = verify_ledger(ledgers.paths[name], remembered=[signed[0]] if signed else [], pld=False)
    if report.checkpoint is None or report.problems:
        raise RefusedError("ledger", "; ".join(report.problems))
    seen = Seen(*signed) if signed else Seen(report.checkpoint)
    tree = ledgers.trees[name]
    old = Witness(place).witness(f"{folder.id}/{name}", seen, tree.consistency_proof)
    return {"before": old.checkpoint.size if old else None, "now": seen.checkpoint.size, "signed": bool(signed)}


def _published(log: Path, key: str, place: Path) -> tuple[str, dict[str, Any]]:
    """A published log: its checkpoint, and proofs from its tiles."""
    from urllib.parse import unquote

    from skerry.errors import InputError, RefusedError
    from skerry.security.transparency.checkpoint import Checkpoint
    from skerry.security.transparency.note import NoteKey
    from skerry.security.transparency.publisher import CHECKPOINT
    from skerry.security.transparency.tiles import TiledTree
    from skerry.security.transparency.witness import Seen, Witness
    from skerry.server.ledgers import POPULATION

    signer = NoteKey.parse(key)
    try:
        note = (log / CHECKPOINT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"there is no published log: {error}", where=str(log), mend="name a folder that holds `checkpoint`"
        ) from error
    run = unquote(signer.name.rpartition("/")[2])
    row: dict[str, Any] = {"ledger": POPULATION, "before": None, "now": None, "signed": True, "problem": None}
    try:
        state = Checkpoint.open(note, [signer], origin=signer.name)
        tree = TiledTree(log, state.size)
        if tree.root() != state.root:
            raise RefusedError("tiles", "the tiles are not those of the checkpoint")
        old = Witness(place).witness(f"{run}/{POPULATION}", Seen(state, note), tree.consistency_proof)
        row |= {"before": old.checkpoint.size if old else None, "now": state.size}
    except RefusedError as refusal:
        row["problem"] = refusal.what
    return run, row
