"""Which addresses stand for all of a machine's, and so for none that could be connected to."""

import pytest

from skerry.addresses import is_any_address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"])
def test_these_stand_for_all_addresses(host: str) -> None:
    assert is_any_address(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.1", "localhost", "fleet.example", ""])
def test_these_do_not(host: str) -> None:
    assert not is_any_address(host)
