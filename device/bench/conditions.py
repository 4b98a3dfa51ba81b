"""The conditions under which a model is measured, and how they are written on the command line."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from skerry.errors import InputError

__all__ = ["DEFAULT_CONDITIONS", "Condition", "parse_conditions"]

Kind = Literal["idle", "burn", "quota", "memory", "batch", "sustained"]

DEFAULT_CONDITIONS = ("idle", "burn", "quota50", "quota25", "memory", "batch=1,4,16", "sustained")

_FORMS = "idle, burn, quota50, quota25, memory, memory=256MB, batch=1,4,16, sustained"
_ALONE: tuple[Kind, ...] = ("idle", "burn", "memory", "sustained")
_KINDS = ("idle", "burn", "quota50", "memory", "batch", "sustained")


@dataclass(frozen=True, order=True)
class Condition:
    """One condition.

    Attributes:
        kind: ``idle``: nothing is added to what the machine does anyway; ``burn``: another process burns each core;
            ``quota``: the process gets a share of each core that it uses; ``memory``: its private writable memory is
            limited; ``batch``: several examples in one call; ``sustained``: without a pause for a long time.
        value: percent of a core for ``quota``, MB (10^6 bytes) for ``memory`` or None to search for the least that
            works, examples a call for ``batch``; None for the others.
    """

    kind: Kind
    value: int | None = None

    @property
    def name(self) -> str:
        """As it is written: ``idle``, ``quota50``, ``memory=256MB``, ``batch=4``."""
        if self.kind == "quota":
            return f"quota{self.value}"
        if self.value is None:
            return self.kind
        return f"{self.kind}={self.value}" + ("MB" if self.kind == "memory" else "")

    @property
    def batch(self) -> int:
        """Examples in one call under this condition."""
        return self.value or 1 if self.kind == "batch" else 1


def parse_conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions of a comma-separated list, each once, in the order given.

    A value that starts with a digit belongs to the key before it: ``idle,batch=1,4,16,quota50``.

    Args:
        texts: one or more such lists.

    Raises:
        InputError: something is not a condition; names the near match.
    """
    found = [condition for text in texts for condition in _one_list(text)]
    if not found:
        raise InputError("no condition is named", where="--conditions", mend=f"write some of: {_FORMS}")
    return tuple(dict.fromkeys(found))


def _one_list(text: str) -> Iterator[Condition]:
    key = ""
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        if word[0].isdigit() and key:
            yield _condition(key, word)
            continue
        name, equals, value = word.partition("=")
        key = name if equals else ""
        yield _condition(name, value if equals else None)


def _condition(name: str, value: str | None) -> Condition:
    if value is None:
        for kind in _ALONE:
            if name == kind:
                return Condition(kind)
        quota = re.fullmatch(r"quota(\d{1,3})", name)
        if quota and 1 <= int(quota[1]) <= 99:
            return Condition("quota", int(quota[1]))
    else:
        memory = re.fullmatch(r"(\d{1,7})\s*MB", value, re.IGNORECASE)
        if name == "memory" and memory and int(memory[1]) > 0:
            return Condition("memory", int(memory[1]))
        if name == "batch" and re.fullmatch(r"\d{1,5}", value) and int(value) > 0:
            return Condition("batch", int(value))
    said = name if value is None else f"{name}={value}"
    near = difflib.get_close_matches(name, _KINDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != name else ""
    raise InputError(f"{said!r} is not a condition", where="--conditions", mend=f"{hint}the forms are: {_FORMS}")
