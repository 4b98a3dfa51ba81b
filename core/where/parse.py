"""Reads a condition by recursive descent::

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" condition ")" | statement
    statement   = tag [ sign literal | "in" texts ] | fact sign literal | fact "in" texts
    tag         = "tag" "(" text ")"
    texts       = "(" text { "," text } ")"
    sign        = "==" | "!=" | "<" | "<=" | ">" | ">="
    literal     = number | text

A fact stands on the left and a literal on the right, of the fact's kind; comparisons are not chained.
"""

import difflib
from collections.abc import Iterable

from skerry.errors import InputError
from skerry.where.facts import FACTS, LEVELS, Fact, Kind
from skerry.where.tokens import Token, fault, tokens
from skerry.where.tree import COMPARISONS, Both, Compared, Either, Node, Not, OneOf, Tagged, TagIs, Where

__all__ = ["parse_where"]

_DEEPEST = 32  # brackets and nots within one another
_JOINING = frozenset({"and", "or", "not", "in"})


def parse_where(text: str) -> Where:
    """The tree of a condition.

    Raises:
        InputError: it is none; says in which column, and marks the place.
    """
    parser = _Parser(text)
    node = parser.condition(0)
    parser.ended()
    return Where(text, node)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokens(text))
        self._place = 0

    def condition(self, depth: int) -> Node:
        left = self._conjunction(depth)
        while self._take("or"):
            right = self._conjunction(depth)
            left = Either((left.span[0], right.span[1]), left, right)
        return left

    def ended(self) -> None:
        if self._next.kind != "end":
            raise self._fault("the condition is over here", "join conditions by and, or")

    def _conjunction(self, depth: int) -> Node:
        left = self._negation(depth)
        while self._take("and"):
            right = self._negation(depth)
            left = Both((left.span[0], right.span[1]), left, right)
        return left

    def _negation(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._fault(f"more than {_DEEPEST} brackets and nots lie within one another", "take some away")
        start = self._next
        if self._take("not"):
            inner = self._negation(depth + 1)
            return Not((start.at, inner.span[1]), inner)
        if self._take("("):
            inner = self.condition(depth + 1)
            self._expect(")")
            return inner
        return self._statement()

    def _statement(self) -> Node:
        token = self._next
        if token.kind != "name" or token.word in _JOINING:
            raise self._fault("a fact must stand here", f"name one of: {', '.join((*FACTS, 'tag'))}")
        self._place += 1
        if token.word == "tag":
            return self._tag(token)
        fact = FACTS.get(token.word)
        if fact is None:
            near = difflib.get_close_matches(token.word, (*FACTS, "tag"), n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join((*FACTS, 'tag'))}"
            raise fault(self._text, token, f"there is no fact {token.word!r}", known)
        if self._next.word == "in":
            self._kind(fact, token.word, Kind.TEXT)
            self._place += 1
            choices = self._texts()
            return OneOf((token.at, self._before), token.word, None, choices)
        sign = self._sign(COMPARISONS if fact.kind is not Kind.TEXT else ("==", "!="), token.word)
        literal = self._literal(fact, token.word)
        return Compared((token.at, self._before), token.word, sign, literal)

    def _tag(self, start: Token) -> Node:
        self._expect("(")
        key = self._string()
        self._expect(")")
        if self._take("in"):
            choices = self._texts()
            return OneOf((start.at, self._before), "tag", key, choices)
        if self._next.kind == "sign" and self._next.word not in {")", ","}:
            sign = self._sign(COMPARISONS, "a tag")
            ordered = sign not in {"==", "!="}
            literal = self._number("a tag") if ordered or self._next.kind == "number" else self._string()
            return TagIs((start.at, self._before), key, sign, literal)
        return Tagged((start.at, self._before), key)

    def _sign(self, known: Iterable[str], what: str) -> str:
        if self._next.word not in known or self._next.kind != "sign":
            raise self._fault(f"{what} is to be compared here", f"by one of: {' '.join(known)}")
        self._place += 1
        return self._tokens[self._place - 1].word

    def _literal(self, fact: Fact, name: str) -> str | float:
        if fact.kind is Kind.NUMBER:
            return self._number(name)
        token = self._next
        word = self._string()
        if fact.kind is Kind.LEVEL and word not in LEVELS:
            near = difflib.get_close_matches(word, LEVELS, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"take one of: {', '.join(LEVELS)}"
            raise fault(self._text, token, f"{word!r} is no level", mend)
        return word

    def _number(self, name: str) -> float:
        if self._next.kind != "number":
            raise self._fault(f"{name} is compared with a number here", "write a number: 0.5")
        self._place += 1
        return float(self._tokens[self._place - 1].word)

    def _texts(self) -> tuple[str, ...]:
        self._expect("(")
        found = [self._string()]
        while self._take(","):
            found.append(self._string())
        self._expect(")")
        return tuple(found)

    def _string(self) -> str:
        if self._next.kind != "text":
            raise self._fault("a text in quotes must stand here", "write it as 'north'")
        self._place += 1
        return self._tokens[self._place - 1].word[1:-1]

    def _kind(self, fact: Fact, name: str, kind: Kind) -> None:
        if fact.kind is not kind:
            raise self._fault(f"{name} is a {fact.kind}, and in is for texts", "compare it: <= or >=")

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._fault(f"{word!r} must stand here", "see that every bracket is closed")

    def _take(self, word: str) -> bool:
        found = self._next.kind in {"name", "sign"} and self._next.word == word
        self._place += found
        return found

    def _fault(self, what: str, mend: str) -> InputError:
        return fault(self._text, self._next, what, mend)

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    @property
    def _before(self) -> int:
        """Where the word that was read last ends."""
        return self._tokens[self._place - 1].end
