"""What the commands of ``skerry release`` share: which repository, and the keys to change it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skerry.security.delivery.manifest import Manifest
    from skerry.security.delivery.repository import Repository, RoleKeys
    from skerry.security.identity import Identity

__all__ = [
    "Keys",
    "Offline",
    "RepositoryFolder",
    "keys_of",
    "manifests",
    "open_repository",
    "publisher_of",
    "reader_of",
]

RepositoryFolder = Annotated[Path, typer.Option("--repository", metavar="DIR", help="Folder of the repository.")]
Keys = Annotated[
    Path | None, typer.Option("--keys", metavar="DIR", help="Folder of the private keys \\[default: DIR.keys].")
]
Offline = Annotated[
    Path | None,
    typer.Option("--offline", metavar="DIR", help="Folder of root and targets keys \\[default: KEYS/offline]."),
]


def keys_of(repository: Path, keys: Path | None, offline: Path | None) -> "RoleKeys":
    """The keys of a repository, in their folders; a passphrase comes from ``SKERRY_KEY_PASSPHRASE``."""
    from skerry.security.delivery.repository import RoleKeys

    folder = _folder(repository, keys)
    passphrase = os.environ.get("SKERRY_KEY_PASSPHRASE")
    return RoleKeys(folder, offline or folder / "offline", passphrase=passphrase.encode() if passphrase else None)


def open_repository(repository: Path, keys: Path | None = None, offline: Path | None = None) -> "Repository":
    """The repository in that folder, with its keys.

    Raises:
        InputError: there is none.
    """
    from skerry.clock import system_clock
    from skerry.security.delivery.repository import Repository

    return Repository.open(repository, keys_of(repository, keys, offline), system_clock)


def publisher_of(repository: Path, keys: Path | None) -> Path:
    """Where the identity lies with which the publisher reads its own older versions."""
    return _folder(repository, keys) / "publisher.json"


def reader_of(repository: Path, keys: Path | None) -> "Identity":
    """That identity.

    Raises:
        InputError: it is not there.
    """
    from skerry.security.identity import Identity

    return Identity.load(publisher_of(repository, keys))


def manifests(repository: "Repository", model: str) -> "dict[int, Manifest]":
    """Version → manifest, oldest first.

    Raises:
        InputError: a manifest is not what was signed.
    """
    from skerry.security.delivery.manifest import Manifest
    from skerry.security.delivery.repository import published

    paths = published(repository, model)
    return {version: Manifest.from_bytes(repository.read_target(model, path)) for version, path in paths.items()}


def _folder(repository: Path, keys: Path | None) -> Path:
    repository = repository.resolve()
    return keys or repository.with_name(f"{repository.name}.keys")
