"""What of a folder of runs goes into an archive, and as what: databases as of one moment, links as far as they hold."""

import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from skerry.errors import RegistryError

__all__ = ["Members"]

_TRANSIENT = ("logs", "server.json", "run", "console")


class Members:
    """The members of an archive that is being written.

    Attributes:
        files: how many there are; folders are none.

    Args:
        archive: open for writing.
        root: the folder that they are named in; its permissions are the first member.
    """

    def __init__(self, archive: tarfile.TarFile, root: Path) -> None:
        self._archive, self._root = archive, root
        self._real = root.resolve()
        self._packed: set[Path] = set()
        self._links: dict[str, Path] = {}
        self.files = 0
        archive.add(root, ".", recursive=False)

    def add(self, path: Path, instead: Mapping[Path, bytes] | None = None) -> None:
        """Add a file, or a folder with what is below it; some files with other content than they have.

        Raises:
            RegistryError: a database is damaged.
        """
        for one in _below(path):
            name = one.relative_to(self._root).as_posix()
            if one.is_symlink():
                self._add_link(one, name)
            elif instead and one in instead:
                self.put(name, instead[one], like=one)
            elif one.suffix == ".sqlite":
                self.put(name, _as_of_now(one), like=one)
            else:
                self._archive.add(one, name, recursive=False)
            self.files += one.is_symlink() or not one.is_dir()
            if not one.is_symlink():
                self._packed.add(one.resolve())

    def put(self, name: str, data: bytes, *, like: Path | None = None) -> None:
        """Add bytes under a name, with the permissions and times of a file, if any, else for their owner only."""
        entry = self._archive.gettarinfo(like, name) if like is not None else tarfile.TarInfo(name)
        if like is None:
            entry.mode = 0o600
        entry.size = len(data)
        self._archive.addfile(entry, io.BytesIO(data))

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The links whose targets are not in the archive."""
        return tuple(name for name, target in self._links.items() if target not in self._packed)

    def _add_link(self, link: Path, name: str) -> None:
        """A link to what lies in the folder leads there wherever the folder comes back; others stay as they are."""
        entry, target = self._archive.gettarinfo(link, name), link.resolve()
        if target.is_relative_to(self._real):
            entry.linkname = os.path.relpath(target, link.parent.resolve())
        self._archive.addfile(entry)
        self._links[name] = target


def _below(path: Path) -> Iterator[Path]:
    """A file, or a folder and what is below it; nothing that is only there while a process runs."""
    yield path
    if path.is_symlink() or not path.is_dir():
        return
    for one in sorted(path.iterdir()):
        passing = one.suffix == ".lock" or one.name.endswith(("-wal", "-shm")) or one.name.startswith(".")
        if path.name == "federation":
            passing |= one.name in _TRANSIENT or one.name.startswith("serving-")
        if not passing:
            yield from _below(one)


def _as_of_now(database: Path) -> bytes:
    """A database that others may be writing to, as of one moment, without a copy of it on a disk.

    Raises:
        RegistryError: it is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as source:
            source.execute("begin")
            source.execute("select count(*) from sqlite_master").fetchone()  # the moment
            return source.serialize()
    except sqlite3.Error as error:
        raise RegistryError(
            f"a database cannot be copied: {error}", where=str(database), mend="move it away, and back up the rest"
        ) from error
