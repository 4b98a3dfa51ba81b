"""What operators call devices, so that a scenario can choose some by it: short words, several for a device.

A word may be a key with a value, ``site=north``: a device has one value of a key.
"""

import re
from collections.abc import Iterable

from sqlalchemy import Connection, insert

from skerry.errors import InputError
from skerry.server.registry.tables import taggings

__all__ = ["add_tagging", "check_tags", "read_tags", "written_tags"]

_TAG = re.compile(r"(?=.{1,64}\Z)([a-z0-9][a-z0-9_-]*)(?:=[a-z0-9][a-z0-9_.-]*)?")
_MOST = 16


def check_tags(words: Iterable[str]) -> tuple[str, ...]:
    """The words as tags: each once, in alphabetical order.

    Raises:
        InputError: one of them is no tag, or they are too many.
    """
    tags = tuple(sorted(set(words)))
    for tag in tags:
        if _TAG.fullmatch(tag) is None:
            raise InputError(
                f"{tag!r:.80} is no tag",
                where="tag",
                mend="lower-case letters, digits, _ and -; at most 64 of them; or two such words as key=value",
            )
    keys = [tag.partition("=")[0] for tag in tags if "=" in tag]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"a device has one value of {twice[0]!r}", where="tag", mend=f"give {twice[0]}=… once")
    if len(tags) > _MOST:
        raise InputError(f"a device has at most {_MOST} tags, got {len(tags)}", where="tag")
    return tags


def written_tags(tags: Iterable[str]) -> str:
    """As they stand in a row."""
    return " ".join(tags)


def read_tags(cell: str | None) -> tuple[str, ...]:
    """The tags of a row; none where there is no row."""
    return tuple((cell or "").split())


def add_tagging(base: Connection, enrolment: int, tags: Iterable[str], *, by: str, now: int) -> None:
    """Enter what an enrolment is called from now on, as part of the caller's transaction."""
    base.execute(insert(taggings), {"enrolment": enrolment, "at": now, "by": by, "tags": written_tags(tags)})
