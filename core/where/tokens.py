"""A condition cut into words, and the error that points at one of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skerry.errors import InputError

__all__ = ["LONGEST", "Token", "fault", "number_of", "tokens"]

LONGEST = 1000
"""Characters of a condition, at most."""

_WORDS = re.compile(
    r"""(?P<blank>\s+)
    | (?P<number>\d+(?:\.\d+)?(?![\w.]))
    | (?P<text>'[^'"\\\n]*' | "[^'"\\\n]*")
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>==|!=|<=|>=|<(?![=>])|>|\(|\)|,)""",
    re.VERBOSE | re.ASCII,
)
_MEANT: Mapping[str, str] = MappingProxyType(
    {"=": "==", "&": "and", "|": "or", "!": "not", "<>": "!=", "-": "a number that is not negative", "{": "("}
)


@dataclass(frozen=True)
class Token:
    """One word: its kind (``number``, ``text``, ``name``, ``sign``, or ``end``), as written, and where it begins."""

    kind: str
    word: str
    at: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.at + len(self.word)


def tokens(text: str) -> Iterator[Token]:
    """The words of a condition, and its end.

    Raises:
        InputError: it is too long, or a character begins no word; says in which column.
    """
    if len(text) > LONGEST:
        raise InputError(f"a condition has at most {LONGEST} characters, got {len(text)}", mend="use tags")
    place = 0
    while place < len(text):
        found = _WORDS.match(text, place)
        if found is None:
            raise _unread(text, place)
        if found.lastgroup != "blank":
            yield Token(str(found.lastgroup), found[0], place)
        place = found.end()
    yield Token("end", "", len(text))


def number_of(text: str) -> float | None:
    """The number that a text is, written as in a condition; None when it is none."""
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None


def fault(text: str, token: Token, what: str, mend: str) -> InputError:
    """An error that points at a word: by its column, counted from 1, and marked in the text."""
    marked = f"{text[: token.at]}»{token.word}«{text[token.end :]}"
    return InputError(f"column {token.at + 1}: {what}", where=marked, mend=mend)


def _unread(text: str, place: int) -> InputError:
    if text[place] in "'\"":
        mend = "close it with the same quote; a text holds no quotes and no \\"
        return fault(text, Token("text", text[place:], place), "this text does not end", mend)
    if text[place].isdigit():
        number = re.match(r"[\w.]+", text[place:])
        assert number is not None, "it begins with a digit"
        return fault(text, Token("number", number[0], place), f"{number[0]!r} is no number", "write it as 12 or 0.5")
    word = next((known for known in ("<>", *_MEANT) if text.startswith(known, place)), text[place])
    meant = _MEANT.get(word)
    mend = f"did you mean {meant}?" if meant else "conditions are joined by and, or, not; texts stand in quotes"
    return fault(text, Token("sign", word, place), f"{word!r} means nothing here", mend)
