"""An auditor's copy of a federation's published log: checkpoint and tiles, through the gateway.

What comes is believed only as far as the log's key has signed it: the tiles have the root of the checkpoint, or nothing
of them is kept. Whether the log only grew is for a witness to say, who looks at copies of different days.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from skerry.device.service.retry_after import retry_after_s
from skerry.device.service.source import GatewaySource, refusal_of
from skerry.errors import RefusedError, RunFailedError
from skerry.fsio import disk_errors, write_atomic
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.note import NoteKey
from skerry.security.transparency.publisher import CHECKPOINT
from skerry.security.transparency.tiles import WIDTH, TiledTree, tile_path, tiles_of

__all__ = ["copy_log"]

_LOG = "/v1/log/"
_LONGEST_NOTE = 1 << 14
_TILE_BYTES = WIDTH * 32
_LONGEST_WAIT_S = 10.0
_PATIENCE = 30  # times that one file is asked for again because the gateway said to wait


def copy_log(
    source: GatewaySource, key: NoteKey, folder: Path, *, pause: Callable[[float], None] = time.sleep
) -> Checkpoint:
    """Bring a folder to the log's newest checkpoint; full tiles that are there already are not asked for again.

    Args:
        source: the gateway, asked as an auditor.
        key: of the log.
        folder: made when missing; holds what `skerry privacy witness` looks at.
        pause: waits so many seconds.

    Raises:
        RefusedError: the gateway's reason (``wrong_role``, …), or the checkpoint is not signed by the key, or the tiles
            are not those that it speaks of (``tiles``); the folder stays as it was.
        RunFailedError: the gateway does not answer, or has no log.
    """
    note = _file(source, CHECKPOINT, _LONGEST_NOTE, pause)
    if note is None:
        raise RunFailedError(
            "the gateway has no log yet", where=source.url, mend="it begins with a run or an enrolment"
        )
    try:
        text = note.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("malformed", "this is not a checkpoint", where=source.url) from error
    state = Checkpoint.open(text, [key], origin=key.name)
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=folder.parent) as place:
            fresh = Path(place)
            names = [_tile(source, folder, fresh, *tile, pause=pause) for tile in tiles_of(state.size)]
            tree = TiledTree(fresh, state.size)
            if tree.root() != state.root or not tree.is_whole():
                raise RefusedError(
                    "tiles",
                    "the tiles are not those of the checkpoint",
                    where=source.url,
                    mend=f"copy the log into an empty folder; if it is refused there too, keep {CHECKPOINT} and ask",
                )
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).replace(folder / name)
        write_atomic(folder / CHECKPOINT, note)
    return state


def _tile(
    source: GatewaySource,
    folder: Path,
    fresh: Path,
    level: int,
    number: int,
    width: int,
    *,
    pause: Callable[[float], None],
) -> str:
    """Put a tile into the fresh folder; its name there. A full one will do for its beginning: the log has grown."""
    whole = tile_path(level, number)
    for name in dict.fromkeys((whole, tile_path(level, number, width))):
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
    if (folder / whole).is_file():
        shutil.copyfile(folder / whole, fresh / whole)
        return whole
    for name in dict.fromkeys((tile_path(level, number, width), whole)):
        data = _file(source, name, _TILE_BYTES, pause)
        if data is not None:
            (fresh / name).write_bytes(data)
            return name
    raise RefusedError("tiles", f"the gateway has no tile {whole}", where=source.url, mend="try again later")


def _file(source: GatewaySource, name: str, limit: int, pause: Callable[[float], None]) -> bytes | None:
    """A file of the published log; None where there is none."""
    for _ in range(_PATIENCE):
        try:
            with source.asked(f"{_LOG}{name}") as answer:
                if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    wait_s = retry_after_s(answer, longest=_LONGEST_WAIT_S)
                elif answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                elif answer.status_code != httpx.codes.OK:
                    reason = refusal_of(answer)
                    raise RefusedError(reason, f"the gateway does not show the log: {reason}", where=source.url)
                else:
                    return _bounded(answer, limit, source.url)
        except httpx.HTTPError as error:
            raise RunFailedError(f"the gateway does not answer: {error}", where=source.url, mend="try again") from error
        pause(wait_s)
    raise RunFailedError("the gateway says to wait, again and again", where=source.url, mend="try again later")


def _bounded(answer: httpx.Response, limit: int, where: str) -> bytes:
    data = bytearray()
    for part in answer.iter_raw():
        data += part
        if len(data) > limit:
            raise RefusedError("endless_data", f"a file of the log has more than {limit} bytes", where=where)
    return bytes(data)
