"""A run without privacy, with public examples of every class, compares updates with the server's own, unasked."""

import json
import sys
from pathlib import Path

import pytest

from skerry.result import Defence, Result
from skerry.runfolder import RunFolder
from skerry.server.launch import launch

TINY = Path(__file__).parents[1] / "device"
SCREEN = ("finite", "shape", "fresh", "norm", "cosine")


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TINY))
        yield
    sys.modules.pop("tiny_tasks", None)


def run(parent: Path, task: str, *overrides: str) -> RunFolder:
    """Seven devices, of which one sends random directions of ordinary length."""
    import tiny_tasks

    return launch(
        tiny_tasks.scenario(
            "full",
            task,
            "none",
            "defence.aggregator=nnm+trimmed_mean",
            "defence.tolerate=1",
            f"defence.screen={json.dumps(SCREEN)}",
            "attack.devices=1",
            "attack.kind=random",
            "attack.scale=1",
            *overrides,
        ),
        engine="inprocess",
        parent=parent,
    )


def told(folder: RunFolder) -> list[str]:
    """Sentences of the detector in all verdicts."""
    scores = [score for verdict in folder.lines("verdicts.jsonl") for score in verdict["scores"]]
    return [score["sentence"] for score in scores if score["detector"] == "root_set"]


def defence_of(folder: RunFolder) -> Defence:
    return Result.model_validate(folder.result).defence


def test_it_looks_at_every_update_and_result_and_verdicts_say_so(tmp_path: Path) -> None:
    """Fourteen examples a device are few: nothing that small is a mixture of classes, and the verdicts admit it."""
    folder = run(tmp_path, "SevenWindows", "rounds=2")
    defence = defence_of(folder)
    assert defence.screen == (*SCREEN, "root_set")
    assert "public examples of all 3 classes" in defence.note
    sentences = told(folder)
    assert len(sentences) == 2 * 7
    assert all(sentence.endswith("is usual, too much to judge by.") for sentence in sentences)
    assert defence.false_quarantines == 0


@pytest.mark.parametrize(
    ("task", "overrides", "why"),
    [
        ("SevenWindows", ("defence.root_set=off",), 'defence.root_set is "off"'),
        ("SevenUnlabelledWindows", (), "labelled public examples of class slow"),
    ],
)
def test_where_it_does_not_look_the_result_says_why(
    tmp_path: Path, task: str, overrides: tuple[str, ...], why: str
) -> None:
    folder = run(tmp_path, task, "rounds=1", *overrides)
    assert defence_of(folder).screen == SCREEN
    assert why in defence_of(folder).note
    assert told(folder) == []
