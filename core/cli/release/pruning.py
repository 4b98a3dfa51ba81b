"""``skerry release prune``: old versions are named no more, and files that nothing names go after a grace."""

from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, emit, note, out
from skerry.cli.release.options import Keys, Offline, RepositoryFolder, open_repository

if TYPE_CHECKING:
    from skerry.security.delivery.repository import Repository, Swept

__all__ = ["prune", "swept", "swept_json"]


def prune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the repository.")],
    *,
    repository: RepositoryFolder,
    keep: Annotated[int, typer.Option("--keep", help="How many of the newest versions stay; 2 or more.")] = 5,
    grace_days: Annotated[
        int,
        typer.Option(
            "--grace-days",
            min=0,
            max=365,
            help="Versions and files that were needed so lately stay too; files a day at least.",
        ),
    ] = 7,
    keys: Keys = None,
    offline: Offline = None,
    as_json: AsJson = False,
) -> None:
    """Drop old versions of a model, so that nobody goes back to them; needs the model's and the online keys.

    The newest two stay always. Their files, and others that nothing names, are deleted by this or by
    `skerry release renew` once nothing has named them for the grace.
    """
    from skerry.clock import system_clock
    from skerry.security.delivery.repository import drop_versions, sweep

    opened, now = open_repository(repository, keys, offline), system_clock()
    gone = drop_versions(opened, model, keep=keep, now=now, grace_days=grace_days)
    done = sweep(opened, now=now, grace_days=grace_days)
    if as_json:
        emit({"model": model, "dropped": gone, **swept_json(done)})
        return
    dropped = f"versions {', '.join(map(str, gone))} of {model} are named no more" if gone else "no version is dropped"
    out().print(f"{dropped}; {_said(done)}", soft_wrap=True)


def swept(repository: "Repository") -> "Swept | None":
    """Delete what has been named by nothing for the grace; None, and a word, where that cannot be done."""
    from skerry.clock import system_clock
    from skerry.errors import SkerryError
    from skerry.security.delivery.repository import sweep

    try:
        done = sweep(repository, now=system_clock())
    except SkerryError as error:
        note().print(f"signed; no old file was deleted: {error.what}", soft_wrap=True)
        return None
    if done.files:
        note().print(_said(done), soft_wrap=True)
    return done


def swept_json(done: "Swept | None") -> dict[str, int]:
    """What went, in numbers."""
    if done is None:
        return {"deleted": 0, "deleted_bytes": 0, "waiting": 0}
    return {"deleted": done.files, "deleted_bytes": done.size, "waiting": done.waiting}


def _said(done: "Swept") -> str:
    from skerry.wording import amount, size

    waiting = f"; {amount(done.waiting, 'file')} that nothing names wait for the grace" if done.waiting else ""
    return f"{amount(done.files, 'file')} deleted ({size(done.size)}){waiting}"
