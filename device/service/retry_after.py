"""How long a server asks to wait before the same is asked again (``Retry-After``, RFC 9110, section 10.2.3)."""

import httpx

__all__ = ["retry_after_s"]


def retry_after_s(answer: httpx.Response, *, longest: float, otherwise: float = 1.0) -> float:
    """Seconds from 0 to ``longest``, whatever the header says.

    Args:
        answer: of the server, which may be anybody before it.
        longest: that its asker is willing to wait.
        otherwise: when it does not say whole seconds; a date counts as not said, for clocks may differ.
    """
    text = answer.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return otherwise
    return min(longest, float(text))
