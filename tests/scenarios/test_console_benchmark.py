"""The benchmark ``dashboard``, small: a real `skerry server up`, and a page on which every change is seen."""

from pathlib import Path

import pytest

from ._phone import MISSING

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_every_write_of_a_coordinator_is_seen_on_the_page_of_a_served_federation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import dashboard

    monkeypatch.setattr(dashboard, "_MANY", 12)
    monkeypatch.setattr(dashboard, "_MANY_ROUNDS", 2)
    (claim,) = dashboard.many(tmp_path)  # what is never seen is an error there
    assert claim.spread is not None
    assert claim.spread["n"] == 2 * 5
