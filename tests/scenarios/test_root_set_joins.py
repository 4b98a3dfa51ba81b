"""A run without privacy, with public examples of every class, compares updates with the server's own unless it is told
not to."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from skerry.errors import InterruptedRunError
from skerry.result import Defence, Result
from skerry.runfolder import RunFolder
from skerry.server.launch import launch, resume
from skerry.server.root_set import RootSet

TINY = Path(__file__).parents[1] / "device"
SCREEN = ("finite", "shape", "fresh", "norm", "cosine")
OFF = "defence.root_set=off"
PROTOTYPES = (
    "rounds=4", "training.epochs=1", "training.batch_size=0", "training.learning_rate=0.02",
    "model.architecture=cnn", "model.bits=32", "model.input_size=28", 'defence.screen=["norm"]',
)  # fmt: skip


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
        ("SevenWindows", (OFF,), 'defence.root_set is "off"'),
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


def vector_of(folder: RunFolder) -> bytes:
    return load_file(folder.path / "checkpoint" / "round.safetensors")["vector"].tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run where the classes explain nearly all of an honest update: whole batches, a network at chance."""
    return run(tmp_path_factory.mktemp("whole"), "SevenPrototypes", *PROTOTYPES)


def test_where_the_classes_explain_honest_updates_random_directions_are_dropped(whole: RunFolder) -> None:
    assert defence_of(whole).attackers == ("device-5",)
    assert defence_of(whole).quarantined == ("device-5",)
    assert defence_of(whole).false_quarantines == 0
    first = {verdict["device"]: verdict for verdict in whole.lines("verdicts.jsonl") if verdict["round"] == 1}
    shares = {
        name: next(score["value"] for score in verdict["scores"] if score["detector"] == "root_set")
        for name, verdict in first.items()
    }
    assert [name for name, verdict in first.items() if verdict["action"] != "accept"] == ["device-5"]
    assert shares.pop("device-5") > 0.9
    assert max(shares.values()) < 0.2


def test_a_resumed_run_with_a_root_set_ends_bit_for_bit(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RootSet.updates

    def stopped(root: RootSet, *round_: object) -> object:
        if round_[-1] == 3:
            raise KeyboardInterrupt
        return plain(root, *round_)

    with monkeypatch.context() as patch:
        patch.setattr(RootSet, "updates", stopped)
        with pytest.raises(InterruptedRunError):
            run(tmp_path, "SevenPrototypes", *PROTOTYPES)
    folder = resume("latest", parent=tmp_path)
    assert len(folder.rounds()) == 4
    assert vector_of(folder) == vector_of(whole)
    verdicts = [[(v["device"], v["action"]) for v in f.lines("verdicts.jsonl")] for f in (folder, whole)]
    assert verdicts[0] == verdicts[1]
