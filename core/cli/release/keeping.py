"""``skerry release init``, ``renew`` and ``rotate``: a repository's making, its daily signature, and its keys."""

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, emit, facts, out, table
from skerry.cli.release.options import Keys, Offline, RepositoryFolder, keys_of, open_repository, publisher_of
from skerry.cli.release.pruning import swept, swept_json

__all__ = ["init", "renew", "rotate"]


def init(
    repository: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make it; must not exist, or be empty.")],
    *,
    keys: Keys = None,
    offline: Offline = None,
    as_json: AsJson = False,
) -> None:
    """Make a repository and its keys: three for root, of which two sign, one each for targets, snapshot and timestamp.

    Root and targets keys are encrypted with SKERRY_KEY_PASSPHRASE when it is set. Take them off this machine.
    """
    from skerry.clock import system_clock
    from skerry.fsio import write_atomic
    from skerry.security.delivery.repository import Repository
    from skerry.security.identity import Identity

    made = Repository.create(repository, keys_of(repository, keys, offline), system_clock)
    reader = publisher_of(repository, keys)
    Identity.generate("publisher").save(reader)
    anchor = repository.resolve().with_name(f"{repository.resolve().name}.root.json")
    write_atomic(anchor, made.root_bytes)
    folder = offline or reader.parent / "offline"
    if as_json:
        emit({"repository": str(repository), "root": str(anchor), "keys": str(reader.parent), "offline": str(folder)})
        return
    rows = [
        ("repository", f"{repository}: serve it as it is"),
        ("root", f"{anchor}: every device gets it when it is enrolled"),
        ("online keys", f"{reader.parent}: stay where `skerry release renew` runs every day"),
        ("offline keys", f"{folder}: move them to media that lie apart; two of the three root keys sign"),
    ]
    out().print(facts(rows))


def renew(*, repository: RepositoryFolder, keys: Keys = None, offline: Offline = None, as_json: AsJson = False) -> None:
    """Sign the timestamp anew (it holds a day), and whatever else has less than half of its life left.

    Files that nothing has named for a week, such as superseded metadata, are deleted.

    Exit code 1 when a key that is needed soon is not at hand; what could be signed is signed.
    """
    from rich.text import Text

    from skerry.cli.console import fail
    from skerry.errors import RunFailedError

    opened = open_repository(repository, keys, offline)
    done = opened.renew()
    document = {
        "roles": [{"role": r.role, "expires": r.expires.isoformat(), "renewed": r.renewed, "due": r.due} for r in done],
        "swept": swept_json(swept(opened)),
    }
    due = [r.role for r in done if r.due]
    error = RunFailedError(
        f"due and not renewed: {', '.join(due)}",
        where=str(repository),
        mend="run this again with their keys at hand (--offline)",
    )
    if as_json and not due:
        emit(document)
        return
    if not as_json:
        shown = table(f"roles of {repository}", ["role", "holds until", ""])
        for r in done:
            said = (
                Text("due: its key is not here", "red") if r.due else Text("signed anew" if r.renewed else "", "green")
            )
            shown.add_row(r.role, f"{r.expires:%Y-%m-%d %H:%M} UTC", said)
        out().print(shown)
    if due:
        fail(error, document, as_json=as_json)


def rotate(
    roles: Annotated[
        list[str], typer.Argument(metavar="ROLE…", help="root, targets, snapshot, timestamp, or a model.")
    ],
    *,
    repository: RepositoryFolder,
    keys: Keys = None,
    offline: Offline = None,
    as_json: AsJson = False,
) -> None:
    """Give roles fresh keys; what the old ones sign counts no more. After a theft of online keys: snapshot timestamp.

    Needs two root keys; for a model, the targets key. The old key files are removed.
    """
    open_repository(repository, keys, offline).rotate(roles)
    if as_json:
        emit({"repository": str(repository), "rotated": roles})
        return
    out().print(f"fresh keys for {', '.join(roles)}; devices take them at their next visit")
