"""``skerry release fetch``: a device takes a release, out of a run's folder or out of a repository."""

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.release.runs import fetch_from_run

__all__ = ["fetch"]


def fetch(
    what: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run; or, with --repository, a model.")],
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder of installed models.")],
    device: Annotated[
        str | None, typer.Option("--device", metavar="ID", help="Which simulated device receives a run's release.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option("--repository", metavar="PLACE", help="Address or folder of a repository.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option("--identity", help="Private keys of the device that takes it from a repository.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Root metadata that the device was given when it was enrolled.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="The device's memory of the repository [default: beside --identity].")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Certificates that the server's has to be signed by.")] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Verify, decrypt and install a release; a device remembers what it has seen, and never goes back.

    A download that broke off goes on where it was. `DIR/MODEL/current` is the version in use; the one before is kept.
    """
    from skerry.errors import InputError

    if repository is None:
        if device is None:
            raise InputError("who receives?", where="--device", mend="name one of the run's devices with --device")
        fetch_from_run(what, device, to, runs_dir, as_json=as_json)
        return
    if identity is None or root is None:
        raise InputError("a repository needs the device's --identity and the --root that it trusts", where=repository)
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.security.delivery.client import ReleaseClient, source_of
    from skerry.security.identity import Identity
    from skerry.wording import size

    if not root.is_file():
        raise InputError("there is no root metadata", where=str(root))
    source = source_of(repository, ca=ca)
    memory = home or identity.with_name(f"{identity.stem}.repository")
    client = ReleaseClient(memory, anchor=root.read_bytes(), device=Identity.load(identity), clock=system_clock)
    taken = client.take(source, what, to)
    if as_json:
        files = {name: str(path) for name, path in taken.files.items()}
        emit({"model": what, "version": taken.manifest.version, "blob_bytes": taken.blob_bytes, "files": files})
        return
    for path in taken.files.values():
        out().print(Text(f"{path}  ({size(path.stat().st_size)})"), soft_wrap=True)
