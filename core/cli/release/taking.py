"""``skerry release fetch``: a device takes a release, out of a run's folder or out of a repository."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.gateway_source import gateway_source
from skerry.cli.keystore_options import KeyFile, open_store
from skerry.cli.release.runs import fetch_from_run

if TYPE_CHECKING:
    from skerry.security.delivery.client import Source

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
        Path | None,
        typer.Option(
            "--home", envvar="SKERRY_DEVICE_HOME", help="Folder of an enrolled device, instead of --identity."
        ),
    ] = None,
    key_file: KeyFile = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="A plain file server: certificates that its own is signed by.")
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Verify, decrypt and install a release; a device remembers what it has seen, and never goes back.

    An enrolled device (--home) signs its requests to the gateway at an https address, unless --ca names a plain server.

    A download that broke off goes on where it was. `DIR/MODEL/current` is the version in use; the one before is kept.
    """
    from skerry.errors import InputError

    if repository is None:
        if device is None:
            raise InputError("who receives?", where="--device", mend="name one of the run's devices with --device")
        fetch_from_run(what, device, to, runs_dir, as_json=as_json)
        return
    if (identity is None and home is None) or root is None:
        raise InputError("a repository needs the device's --home or --identity, and the --root", where=repository)
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.security.delivery.client import ReleaseClient, source_of
    from skerry.security.identity import Identity
    from skerry.wording import size

    if not root.is_file():
        raise InputError("there is no root metadata", where=str(root))
    source: Source
    if identity is not None:
        memory, reader = identity.with_name(f"{identity.stem}.repository"), Identity.load(identity)
        source = source_of(repository, ca=ca)
    else:
        assert home is not None
        store = open_store(home, key_file)
        memory, reader = home / "repository", store.identity
        at_gateway = repository.startswith("https:") and ca is None
        source = gateway_source(repository, home, store) if at_gateway else source_of(repository, ca=ca)
    client = ReleaseClient(memory, anchor=root.read_bytes(), device=reader, clock=system_clock)
    taken = client.take(source, what, to)
    if as_json:
        files = {name: str(path) for name, path in taken.files.items()}
        emit({"model": what, "version": taken.manifest.version, "blob_bytes": taken.blob_bytes, "files": files})
        return
    for path in taken.files.values():
        out().print(Text(f"{path}  ({size(path.stat().st_size)})"), soft_wrap=True)
