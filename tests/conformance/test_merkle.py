"""Proofs of RFC 9162 as others test theirs: true ones hold, and every published change of one is refused."""

import pytest

from skerry.errors import RefusedError
from skerry.security.transparency import verify_consistency, verify_inclusion

from ._reference import vectors

PUBLISHED = vectors("merkle")


def _hashes(values):
    return [bytes.fromhex(value) for value in values]


def _refused(call):
    try:
        call()
    except RefusedError:
        return True
    return False


@pytest.mark.parametrize("case", PUBLISHED["inclusion"], ids=lambda case: case["name"])
def test_inclusion(case):
    leaf, root = _hashes([case["leaf"] or "", case["root"] or ""])
    said = _refused(lambda: verify_inclusion(leaf, case["index"], case["size"], _hashes(case["proof"]), root))
    assert said == case["refused"]


@pytest.mark.parametrize("case", PUBLISHED["consistency"], ids=lambda case: case["name"])
def test_consistency(case):
    before, root = _hashes([case["old_root"] or "", case["root"] or ""])
    said = _refused(lambda: verify_consistency(case["old"], before, case["size"], root, _hashes(case["proof"])))
    assert said == case["refused"]
