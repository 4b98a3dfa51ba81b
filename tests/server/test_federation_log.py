"""The federation's log beside its runs: whose key signs it, and that no other ever does."""

import stat

import pytest

from skerry.errors import InputError, RefusedError
from skerry.security.transparency.events import Event, EventKind
from skerry.server.federation_log import FOLDER, federation_log

from ._enrolment import NOW


def test_the_key_of_the_log_is_its_own_and_nobody_elses(tmp_path):
    first = federation_log(tmp_path)
    assert stat.S_IMODE((tmp_path / FOLDER / "key.json").stat().st_mode) == 0o600
    assert federation_log(tmp_path).key == first.key != federation_log(tmp_path / "others").key
    with pytest.raises(InputError, match="there is no log in this folder"):
        federation_log(tmp_path / "none", create=False)


def test_a_log_whose_key_is_lost_gets_no_other(tmp_path):
    federation_log(tmp_path).append([Event(EventKind.LEDGER_HEAD, {"ledger": "l", "size": 1, "root": "00" * 32})], NOW)
    (tmp_path / FOLDER / "key.json").unlink()
    for create in (True, False):
        with pytest.raises(RefusedError) as refused:
            federation_log(tmp_path, create=create)
        assert refused.value.reason == "key_lost"
    assert not (tmp_path / FOLDER / "key.json").exists()
