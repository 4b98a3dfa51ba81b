"""How long a server asks to wait: what it may say, and what is made of the rest."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.device.service.retry_after import retry_after_s


def asked(text: str | None, **bounds: float) -> float:
    headers = [] if text is None else [(b"retry-after", text.encode())]
    return retry_after_s(httpx.Response(429, headers=headers), **bounds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), ("600", 600.0), ("601", 600.0), ("9" * 400, 600.0), (None, 1.0), ("", 1.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("-5", 1.0), ("nan", 1.0), ("inf", 1.0), ("1_0", 1.0), ("\u0663", 1.0),
    ],
)  # fmt: skip
def test_whole_seconds_are_taken_and_all_else_is_a_second(text: str | None, seconds: float) -> None:
    assert asked(text, longest=600.0) == seconds


@given(st.text(), st.floats(0, 10), st.floats(10, 1000))
def test_it_is_never_longer_than_the_asker_waits(text: str, otherwise: float, longest: float) -> None:
    assert 0 <= asked(text, longest=longest, otherwise=otherwise) <= longest
