"""A tree as static files (C2SP tlog-tiles): whoever can read a folder, or a plain web server, checks the log by itself.

::

    <log>/checkpoint                  a signed note; written after the tiles that it speaks of
    <log>/tile/<L>/<N>                256 hashes of 32 bytes, each the root of 256^L leaves, from number 256·N on
    <log>/tile/<L>/<N>.p/<W>          the last tile of a level, with W < 256 of them

N is written in groups of three digits, all but the last one with an ``x`` before it: 1234067 is ``x001/x234/067``.
Tiles hold hashes only, so a log can be published whose entries are nobody else's business. They are derived from the
log and are not synced: whoever adds to a log writes the tiles that it adds to, and older ones that are lost or altered
are written again when it is asked for (:meth:`~skerry.security.transparency.log.Log.publish_again`). Partial tiles go
when their tile is full.
"""

import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from skerry.errors import RefusedError
from skerry.fsio import write_atomic
from skerry.security.transparency.merkle import Tree, node_hash

__all__ = ["WIDTH", "TiledTree", "are_tiles_of", "tile_path", "tiles_of", "write_tiles"]

WIDTH = 256
"""Hashes in a full tile."""

_HEIGHT = 8
_HASH = 32


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    """Where a tile lies, relative to the log's folder."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03d}")
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def tiles_of(size: int, *, since: int = 0) -> Iterator[tuple[int, int, int]]:
    """Level, number and width of every tile of ``size`` leaves that those of ``since`` leaves do not have."""
    level = 0
    while size >> (_HEIGHT * level):
        before, now = since >> (_HEIGHT * level), size >> (_HEIGHT * level)
        if now > before:
            for number in range(before // WIDTH, (now + WIDTH - 1) // WIDTH):
                yield level, number, min(WIDTH, now - number * WIDTH)
        level += 1


def write_tiles(tree: Tree, size: int, folder: Path, *, since: int = 0) -> None:
    """Write what the first ``size`` leaves add to the tiles of the first ``since``.

    Raises:
        DiskFullError: no room.
    """
    for level, number, width in tiles_of(size, since=since):
        first = number * WIDTH
        hashes = b"".join(tree.subtree(_HEIGHT * level, first + i) for i in range(width))
        write_atomic(folder / tile_path(level, number, width), hashes, durable=False)
        if width == WIDTH:
            shutil.rmtree(folder / f"{tile_path(level, number)}.p", ignore_errors=True)


def are_tiles_of(folder: Path, tree: Tree) -> bool:
    """Whether a folder has every tile of a tree, none of them lost or altered; reads all of them."""
    there = TiledTree(folder, len(tree))
    try:
        return there.root() == tree.root() and there.is_whole()
    except RefusedError:
        return False


class TiledTree(Tree):
    """A tree of ``size`` leaves read from tiles; every proof it gives is to be verified, for the files are anybody's.

    Raises:
        RefusedError: a tile is missing or has the wrong length (``tiles``), when it is first needed.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._length = folder, size
        self._tile = lru_cache(maxsize=64)(self._read)

    def __len__(self) -> int:
        return self._length

    def is_whole(self) -> bool:
        """Whether every full tile has the hash that the level above has for it; then the root speaks of all of them."""
        return all(
            self._folded(level, number) == self.subtree(_HEIGHT * (level + 1), number)
            for level, number, width in tiles_of(len(self))
            if width == WIDTH
        )

    def _folded(self, level: int, number: int) -> bytes:
        """The root over a full tile's own hashes."""
        return self._over(self._tile(level, number), 0, WIDTH, level)

    def subtree(self, level: int, index: int) -> bytes:
        """From the tile above which it lies, hashed together where it lies within one."""
        tile_level, above = divmod(level, _HEIGHT)
        first = index << above
        return self._over(self._tile(tile_level, first // WIDTH), first % WIDTH, 1 << above, tile_level)

    def _over(self, data: bytes, at: int, count: int, level: int) -> bytes:
        """The root over ``count`` hashes of a tile of that level."""
        hashes = [data[_HASH * i : _HASH * (i + 1)] for i in range(at, at + count)]
        if any(len(value) != _HASH for value in hashes):
            what = f"the tiles hold no subtree that is asked for: one of level {level} is too short"
            raise RefusedError("tiles", what, where=str(self._folder))
        while len(hashes) > 1:
            hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    def _read(self, level: int, number: int) -> bytes:
        width = min(WIDTH, (self._length >> (_HEIGHT * level)) - number * WIDTH)
        try:
            return self._found(level, number, width)
        except OSError as error:
            raise RefusedError(
                "tiles",
                f"the tile {tile_path(level, number, width)} cannot be read: {error.strerror}",
                where=str(self._folder),
                mend="have the log published again",
            ) from error

    def _found(self, level: int, number: int, width: int) -> bytes:
        """The full tile where there is one: the log may have grown since its checkpoint was read."""
        path = self._folder / tile_path(level, number)
        if path.is_file():
            return path.read_bytes()
        return (self._folder / tile_path(level, number, width)).read_bytes()
