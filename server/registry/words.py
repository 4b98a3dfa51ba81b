"""Words that a person leaves in the registry: shown on other people's terminals, so they hold no control characters."""

from skerry.errors import InputError

__all__ = ["plain_words"]


def plain_words(text: str, what: str) -> str:
    """The text with single blanks.

    Raises:
        InputError: nothing is said, or it is no plain text.
    """
    words = " ".join(text.split())
    if not words:
        raise InputError(
            "a decision needs an author and a reason", where=what, mend="say why: whoever looks later will ask"
        )
    if not words.isprintable():
        raise InputError("author and reason must be plain text", where=what, mend="leave control characters out")
    return words
