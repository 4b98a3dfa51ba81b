"""``skerry server backup`` and ``restore``: a federation in one encrypted file, and back."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, facts, note, out

if TYPE_CHECKING:
    from skerry.server.backup import Contents
    from skerry.server.restoring import Restored

__all__ = ["backup", "restore"]

_KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="Its content is the passphrase: a file (0600) kept elsewhere."),
]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written; must not exist.")],
    *,
    key_file: _KeyFile = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Keep the federation in one encrypted file: registry, log, authority, releases, and the runs that have ended.

    Servers may run meanwhile. SKERRY_BACKUP_PASSPHRASE or --key-file opens the file again; without it, it is lost.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.backup import make_backup
    from skerry.wording import size

    passphrase = _passphrase(key_file, new=True)
    with note().status("packing") as status:
        runs = runs_in(runs_dir)
        contents = make_backup(
            runs, file, passphrase, now=system_clock(), told=lambda part: status.update(f"packing {part}")
        )
    if as_json:
        emit({**_document(contents), "file": str(file), "bytes": file.stat().st_size})
        return
    _tell(contents)
    out().print(f"wrote {file}, {size(file.stat().st_size)}", soft_wrap=True)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `skerry server backup` wrote.")],
    *,
    key_file: _KeyFile = None,
    check: Annotated[bool, typer.Option("--check", help="Only read it to its end and say what is in it.")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into a folder of runs that is empty or not there yet.

    What came after it is not in it: devices keep ledgers of their own, and go on from those; it says what you have to
    repeat. Invitations that were open are ended: whether they were used since, nobody knows.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.restoring import read_backup, restore_backup

    if not file.is_file():
        raise InputError("there is no such file", where=str(file), mend="name one that `skerry server backup` wrote")
    passphrase = _passphrase(key_file, new=False)
    runs = runs_in(runs_dir)
    if check:
        with note().status("reading"):
            contents = read_backup(file, passphrase)
        if as_json:
            emit({**_document(contents), "restored": None})
            return
        _tell(contents)
        out().print("it is whole")
        return
    with note().status("reading"):
        restored = restore_backup(file, runs, passphrase, now=system_clock())
    repeat = _to_repeat(restored)
    if as_json:
        ended = restored.ended_invites
        emit({**_document(restored.contents), "restored": str(runs), "ended_invites": ended, "repeat": repeat})
        return
    _tell(restored.contents)
    out().print(f"restored into {runs}. Of what came since, before the servers start:", soft_wrap=True)
    for one in repeat:
        out().print(f"- {one}", soft_wrap=True)


def _passphrase(key_file: Path | None, *, new: bool) -> bytes:
    from skerry.errors import RefusedError
    from skerry.security.identity.private_file import read_private

    if key_file is not None:
        try:
            return read_private(key_file).removesuffix(b"\n").removesuffix(b"\r")  # as editors and echo end a file
        except RefusedError as error:
            raise RefusedError(
                error.reason, error.what, where=error.where, mend=f"chmod 600 {key_file}; if others may have read it, "
                "make another one and a new backup, and destroy those that this one opens",
            ) from error  # fmt: skip
    told = os.environ.get("SKERRY_BACKUP_PASSPHRASE")
    if told is None:
        told = typer.prompt("Passphrase of the backup", hide_input=True, confirmation_prompt=new, err=True)
    return told.encode()


def _document(contents: "Contents") -> dict[str, Any]:
    from dataclasses import asdict

    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(contents).items()}


def _to_repeat(restored: "Restored") -> list[str]:
    """What an operator does again, because a backup cannot know it."""
    ended = restored.ended_invites
    invited = (
        "the registry cannot be read: see `skerry fleet list`" if ended is None
        else f"invite anew: invitations that were open have ended ({ended}), as some may have been used"
    )  # fmt: skip
    return [
        "revoke again whoever was revoked, revoke who left (`skerry fleet revoke`), and judge again (`… quarantine`)",
        "erase again (`skerry fleet forget`, `skerry privacy forget`) the names that were erased: they are back",
        *([] if ended == 0 else [invited]),
        "publish the next release with a version above the newest that devices have",
        "tell witnesses and auditors of the log, if anything was entered",
    ]


def _tell(contents: "Contents") -> None:
    from skerry.wording import listing, moment

    rows = [("made", moment(contents.made)), ("runs", f"{len(contents.runs)}"), ("files", f"{contents.files}")]
    left_out = {
        "under way, left out": contents.under_way,
        "unreadable, left out": contents.unreadable,
        "not skerry's, left out": contents.unknown,
        "links to what is not in it": contents.elsewhere,
    }
    rows += [(what, listing(names)) for what, names in left_out.items() if names]
    out().print(facts(rows))
