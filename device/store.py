"""Where base models lie: each in a folder named by its digest, found again by the facts it was built from. No torch.

::

    <store>/<digest>/base.json    the facts, and the SHA-256 of every other file; its own SHA-256 is the digest
    <store>/<digest>/...          those files
    <store>/index/<facts>         the digest of what was built from these facts

A folder appears whole or not at all, and every file is checked against its digest before it is used.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from skerry.canonical import digest, sha256_hex
from skerry.errors import InputError, RefusedError
from skerry.fsio import home, write_atomic

__all__ = ["MANIFEST", "StoredModel", "find_or_build", "model_store", "read_manifest", "whole", "write_manifest"]

MANIFEST = "base.json"
_REBUILD = "delete the folder and build the base model again"

T = TypeVar("T", bound="StoredModel")


def model_store() -> Path:
    """Where base models lie on this machine."""
    return home() / "models"


class StoredModel:
    """A folder of the store.

    Attributes:
        path: the folder.
        digest: SHA-256 of ``base.json``, hexadecimal.
        facts: the content of ``base.json``, which was checked.
    """

    def __init__(self, path: Path, digest: str, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.digest = digest
        self.facts = facts

    @property
    def bits(self) -> int:
        """Bits per weight of what is deployed: 8 or 32."""
        return int(self.facts["bits"])

    def check_agreed(self, wanted: Mapping[str, Any]) -> None:
        """Refuse a base that says it is another than a device agreed to, whoever signed its name.

        What it says is its builder's claim: that its network is of this architecture cannot be seen from here.

        Args:
            wanted: facts by name, of those within another by both names with a dot.

        Raises:
            RefusedError: one is another or missing (``wrong_model``).
        """
        if other := [name for name, value in wanted.items() if self._fact(name) != value]:
            raise RefusedError(
                "wrong_model",
                f"this base says it has another {', '.join(other)} than the model that was agreed to",
                where=str(self.path),
            )

    def _fact(self, name: str) -> Any:
        found: Any = self.facts
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            RefusedError: it is missing, or was altered (``wrong_model``).
        """
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise RefusedError(
                "wrong_model",
                f"a file of this base model cannot be read: {error.strerror}",
                where=str(self.path / name),
                mend=_REBUILD,
            ) from error
        if sha256_hex(data) != self.facts["files"].get(name):
            raise RefusedError("wrong_model", "the base model was altered", where=str(self.path / name), mend=_REBUILD)
        return data


def read_manifest(digest: str, store: Path | None = None) -> StoredModel:
    """The folder of that digest, with its facts.

    Args:
        digest: of its manifest.
        store: where base models lie; None for the default.

    Raises:
        InputError: it is not on this machine, or its manifest does not name files.
        RefusedError: the manifest does not have that digest (``wrong_model``).
    """
    path = (store or model_store()) / digest
    try:
        manifest = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(
            "this base model is not on this machine", where=str(path), mend="build it, or fetch its release"
        ) from error
    if sha256_hex(manifest) != digest:
        raise RefusedError("wrong_model", "the base model was altered", where=str(path / MANIFEST), mend=_REBUILD)
    try:
        facts = json.loads(manifest)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("files"), dict):
        raise InputError("this base model's manifest does not name its files", where=str(path / MANIFEST))
    return StoredModel(path, digest, facts)


def write_manifest(out: Path, facts: Mapping[str, Any]) -> str:
    """Name the files of a finished folder beside its facts, and return the digest of both."""
    files = {path.name: sha256_hex(path.read_bytes()) for path in sorted(out.iterdir())}
    manifest = json.dumps({**facts, "files": files}, sort_keys=True, indent=1).encode()
    write_atomic(out / MANIFEST, manifest, durable=False)
    return sha256_hex(manifest)


def find_or_build(
    facts: Mapping[str, Any], store: Path, load: Callable[[str, Path], T], build: Callable[[Path], str]
) -> T:
    """What was built from these facts, if it is there and whole; else it is built.

    Args:
        facts: all that decides what is built.
        store: where base models lie.
        load: a model of its digest, in a store.
        build: fills an empty folder, ends with :func:`write_manifest`, and returns its digest.
    """
    pointer = store / "index" / digest(facts)
    if pointer.is_file() and (found := whole(pointer.read_text(encoding="utf-8"), store, load)) is not None:
        return found
    temporary = store / f".building-{secrets.token_hex(4)}"
    temporary.mkdir(parents=True)
    try:
        name = build(temporary)
        final = store / name
        if final.exists() and whole(name, store, load) is None:
            shutil.rmtree(final)
        if not final.exists():
            temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_atomic(pointer, name.encode())
    return load(name, store)


def whole(name: str, store: Path, load: Callable[[str, Path], T]) -> T | None:
    """The model of that digest; None where it, or a file of it, was deleted or damaged.

    Args:
        name: the digest.
        store: where base models lie.
        load: a model of its digest, in a store.
    """
    try:
        found = load(name, store)
        for file in found.facts["files"]:
            found.read(file)
    except (InputError, RefusedError):
        return None
    return found
