"""The benchmark ``phone``: two phones and two agents, through its own group; and a page that never answers ends it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.server.gateway.web_page import BUILT

from ._phone import MISSING, WEB

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_two_phones_and_two_agents_learn_and_a_reload_in_mid_round_loses_nothing():
    if not (BUILT / "index.html").is_file():
        subprocess.run(["node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "error"], cwd=WEB, check=True)
    command = [sys.executable, BENCHMARKS / "phone.py", "rounds"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=880)
    assert done.returncode == 0, done.stderr
    claims = {claim["id"]: claim for claim in json.loads(done.stdout)["claims"]}
    for name in ("phone_rounds", "phone_accuracy_rises", "reload_loses_nothing"):
        assert claims[name]["holds"], claims[name]


def test_a_page_that_never_answers_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from _harness import NotMeasuredError
    from _pages import pages

    quiet = pages(["sleep", "60"], tmp_path / "log", patience_s=0.3)
    with quiet as browser, pytest.raises(NotMeasuredError, match="no answer"):
        browser.do("run", "a", code="() => new Promise(() => undefined)")
