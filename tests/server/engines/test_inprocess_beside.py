"""Several runs of the in-process engine in one program, from threads of its own."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info

from skerry.config import default_scenario
from skerry.runfolder import RunFolder
from skerry.server.engines import Components
from skerry.server.engines.inprocess import InProcessEngine
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.launch import launch


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_run_is_conducted_when_the_one_before_is_over(
    first: int, second: int, echo: Components, make_run: Any, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there is once in a process is that of one run, and afterwards as it was before."""
    ours = threading.get_ident()
    here = threading.Event()
    other = make_run(2, rounds=1)
    beside = threading.Thread(target=InProcessEngine(echo, processes=second).run, args=(other,))
    meanwhile: list[bool] = []
    real = InProcessGrid.get_node_ids

    def looking(grid: InProcessGrid) -> list[int]:
        if threading.get_ident() != ours:
            here.set()
        elif not beside.is_alive() and not meanwhile:
            beside.start()
            meanwhile.append(here.wait(1))
        return real(grid)

    monkeypatch.setattr(InProcessGrid, "get_node_ids", looking)
    before = logging.getLogger("skerry.device").handlers[:], [pool["num_threads"] for pool in threadpool_info()]
    folder = make_run(2, rounds=2)
    InProcessEngine(echo, processes=first).run(folder)
    beside.join(60)
    after = logging.getLogger("skerry.device").handlers[:], [pool["num_threads"] for pool in threadpool_info()]
    assert meanwhile == [False]
    assert after == before
    assert [len(seen(one)["rounds"]) for one in (folder, other)] == [2, 1]


def test_two_runs_at_once_end_as_each_alone(tmp_path: Path) -> None:
    found: dict[int, RunFolder] = {}

    def run(rounds: int) -> None:
        settings = [f"rounds={rounds}", "training.epochs=1", "report.references=false"]
        found[rounds] = launch(default_scenario(settings), engine="inprocess", parent=tmp_path / str(rounds))

    threads = [threading.Thread(target=run, args=(rounds,)) for rounds in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert [found[rounds].state for rounds in (1, 2)] == ["complete", "complete"]
    first = [found[rounds].rounds()[0] for rounds in (1, 2)]
    assert first[0].accepted == first[1].accepted
