"""With ``training.server_average`` the mean of the rounds' models is measured and delivered; devices see none of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from skerry.cli.model.scorers import run_scorers
from skerry.config import default_scenario
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.server import rounds as rounds_module
from skerry.server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from skerry.server.launch import launch
from skerry.strategies.optimizers import Moments

PLAIN = ("rounds=3", "attack.devices=0", "report.references=false")


def run(parent: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[RunFolder, list[Checkpoint]]:
    stored: list[Checkpoint] = []
    store = rounds_module.store_round

    def seen(folder: RunFolder, checkpoint: Checkpoint) -> None:
        stored.append(checkpoint)
        store(folder, checkpoint)

    monkeypatch.setattr(rounds_module, "store_round", seen)
    folder = launch(default_scenario([*PLAIN, *overrides]), engine="inprocess", parent=parent)
    monkeypatch.undo()
    return folder, stored


def test_the_mean_is_measured_and_delivered_and_devices_train_as_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, vectors = run(tmp_path / "plain", monkeypatch)
    folder, stored = run(tmp_path / "mean", monkeypatch, "training.server_average=0.9")
    assert [r.vector_digest for r in folder.rounds()] == [r.vector_digest for r in plain.rounds()]
    mean = np.mean([one.vector for one in vectors], axis=0)
    np.testing.assert_allclose(stored[-1].released, mean, atol=1e-6)
    assert not np.allclose(mean, vectors[-1].vector, atol=1e-3)
    kept = load_checkpoint(folder)
    assert kept is not None
    np.testing.assert_array_equal(kept.released, stored[-1].released)
    assert kept.moments.averaged == 3
    head = load_file(folder.path / "model" / "head.safetensors")["head.weight"]
    np.testing.assert_array_equal(head.ravel(), kept.released)
    losses = [[record.loss for record in one.rounds()] for one in (folder, plain)]
    assert losses[0][0] == losses[1][0]  # of one model it is that
    assert losses[0][1:] != losses[1][1:]
    assert folder.result["quality"]["final"] != plain.result["quality"]["final"]
    assert [one.moments.averaged for one in vectors] == [0, 0, 0]
    proofs, plainly = folder.result["evidence"], plain.result["evidence"]
    for claim in ("quality.final", "quality.agreement"):  # what was measured is what was delivered, in no round's entry
        assert proofs[claim]["leaf"] == proofs["delivery"]["leaf"] != folder.rounds()[-1].extra["ledger_leaf"]
        assert plainly[claim]["leaf"] == plain.rounds()[-1].extra["ledger_leaf"]


def test_what_is_measured_afterwards_is_the_mean_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, stored = run(tmp_path, monkeypatch, "training.server_average=0.9")
    for path in (folder.path / "model").glob("*.onnx"):
        path.unlink()
    task = process_worker().task(folder.scenario.task, folder.scenario.model)
    x = np.random.default_rng(3).uniform(-1, 1, (40, 3, 64, 64)).astype(np.float32)

    def scores() -> np.ndarray:
        (first, *_), number = run_scorers(folder, task)
        assert number == 3
        return first.scores(x)

    def scores_of(vector: np.ndarray) -> np.ndarray:
        save_checkpoint(folder, replace(stored[-1], vector=vector, moments=Moments()))
        return scores()

    found = scores()
    np.testing.assert_array_equal(found, scores_of(stored[-1].released))
    assert not np.array_equal(found, scores_of(stored[-1].vector))
