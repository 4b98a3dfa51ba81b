"""The benchmark ``phone``: a page that never answers ends it."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_page_that_never_answers_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from _harness import NotMeasuredError
    from _pages import pages

    quiet = pages(["sleep", "60"], tmp_path / "log", patience_s=0.3)
    with quiet as browser, pytest.raises(NotMeasuredError, match="no answer"):
        browser.do("run", "a", code="() => new Promise(() => undefined)")
