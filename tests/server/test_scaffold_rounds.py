"""SCAFFOLD and q-FFL through whole rounds: sealed instructions, real devices, the ledger, the checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app as honest_app
from skerry.device.app import fleet_homes
from skerry.device.protocol import Instruction, Update
from skerry.device.variates import FILE
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.server import rounds as rounds_module
from skerry.server.checkpoint import Checkpoint, load_checkpoint
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.prepare import prepare
from skerry.server.rounds import run_rounds

PLAIN = (
    "attack.devices=0",
    "defence.aggregator=mean",
    "defence.tolerate=0",
    'defence.screen=["finite", "shape", "fresh"]',
    "report.references=false",
)
OPEN = (*PLAIN, "privacy.unit=none", "training.learning_rate=0.5")


def created(parent: Path, *overrides: str) -> RunFolder:
    folder = RunFolder.create(parent, default_scenario(["rounds=3", *overrides]), engine="inprocess")
    prepare(folder, system_clock, process_worker())
    return folder


def run(folder: RunFolder, node=honest_app) -> list:
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = InProcessGrid(node, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        with federation.ledger:
            return run_rounds(federation).records


def last(folder: RunFolder) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint


def kept_by_devices(folder: RunFolder) -> dict[str, tuple[dict[int, np.ndarray], str]]:
    found = {}
    for home in fleet_homes(folder.path):
        if (home / FILE).exists():
            with safe_open(home / FILE, framework="numpy") as file:
                rounds = [int(number) for number in file.metadata()["rounds"].split()]
                arrays = [file.get_tensor(name) for name in ("before", "after")]
                found[home.name] = (dict(zip(rounds, arrays, strict=True)), file.metadata()["unit"])
    return found


def dropping(monkeypatch, lost: dict[int, str]) -> None:
    """Updates that come too late: the device has done its work, and nobody counts it. By round, one device each."""
    plain, rounds = rounds_module.validate, iter(range(1, 100))

    def validate(federation, opened):
        valid, late = plain(federation, opened), lost[next(rounds)]
        keep = [i for i, device in enumerate(valid.devices) if device != late]
        devices = tuple(valid.devices[i] for i in keep)
        return type(valid)(devices, valid.deltas[keep], valid.receipts, valid.dropped)

    monkeypatch.setattr(rounds_module, "validate", validate)


@pytest.mark.parametrize("settings", [PLAIN, OPEN])
def test_the_servers_sum_is_that_of_the_devices_also_where_updates_are_not_counted(tmp_path, monkeypatch, settings):
    dropping(monkeypatch, {1: "writer-00", 2: "writer-01", 3: "writer-02"})
    folder = created(tmp_path, *settings, "training.scaffold=true")
    records = run(folder)
    assert [len(record.accepted) for record in records] == [10, 10, 10]  # of eleven
    variates = last(folder).variates
    assert variates is not None
    own = kept_by_devices(folder)
    assert len(own) == 11
    assert {unit for _, unit in own.values()} == {folder.scenario.privacy.unit}
    total = np.sum([rounds[variates.counted.get(device, 0)] for device, (rounds, _) in own.items()], axis=0)
    scale = np.abs(variates.total).max()
    assert scale > 0
    np.testing.assert_allclose(variates.total, total, atol=1e-4 * scale)
    assert variates.counted["writer-02"] == 2
    assert variates.counted["writer-00"] == 3


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_goes_on_has_the_same_variates_to_the_last_bit(tmp_path, monkeypatch, lost):
    """Killed in its last round when all devices had answered; ``lost``: before their answers were on the disk."""
    whole = created(tmp_path / "whole", *OPEN, "training.scaffold=true", "seed=5")
    run(whole)
    broken = created(tmp_path / "broken", *OPEN, "training.scaffold=true", "seed=5")
    plain = rounds_module.open_replies

    def killed(federation, plan, replies):
        if plan.number == 3:
            raise KeyboardInterrupt
        return plain(federation, plan, replies)

    with monkeypatch.context() as patch:
        patch.setattr(rounds_module, "open_replies", killed)
        with pytest.raises(KeyboardInterrupt):
            run(broken)
    assert last(broken).round == 2
    assert all(3 in rounds for rounds, _ in kept_by_devices(broken).values())  # they are a round ahead
    if lost:
        (broken.path / "round" / "answers").unlink()
    run(broken)
    one, other = last(whole), last(broken)
    assert one.variates is not None
    assert other.variates is not None
    assert other.vector.tobytes() == one.vector.tobytes()
    assert other.variates.total.tobytes() == one.variates.total.tobytes()
    assert other.variates.counted == one.variates.counted
    assert other.variates.devices == one.variates.devices
    for device, (rounds, _) in kept_by_devices(whole).items():
        again = kept_by_devices(broken)[device][0]
        assert {number: array.tobytes() for number, array in rounds.items()} == {
            number: array.tobytes() for number, array in again.items()
        }


def test_epsilon_is_that_of_the_same_rounds_without_it(tmp_path):
    """Nothing more is released; what a device corrects by is a function of what it sent."""
    plain, corrected = (created(tmp_path / name, *PLAIN, f"training.scaffold={name}") for name in ("false", "true"))
    without, with_it = run(plain), run(corrected)
    assert [record.epsilon_max for record in with_it] == [record.epsilon_max for record in without]
    assert [record.bytes_up for record in with_it] == [record.bytes_up for record in without]
    assert with_it[0].vector_digest == without[0].vector_digest  # all variates begin with zero
    assert with_it[-1].vector_digest != without[-1].vector_digest


def test_a_fair_round_weighs_by_the_losses_that_devices_say(tmp_path, monkeypatch):
    seen = {}
    plain = rounds_module.fair_weights

    def watched(deltas, losses, **others):
        seen.update(losses=losses.copy(), weights=plain(deltas, losses, **others), others=others)
        return seen["weights"]

    monkeypatch.setattr(rounds_module, "fair_weights", watched)
    folder = created(tmp_path, *OPEN, "rounds=1", "training.fairness=2.0")
    (record,) = run(folder)
    assert len(record.accepted) == len(seen["losses"]) == 11
    assert seen["others"] == {"q": 2.0, "learning_rate": 0.5, "tolerate": 0}
    order = np.argsort(seen["losses"])
    assert (np.diff(seen["weights"][order]) >= 0).all()
    prepared = prepare(folder, system_clock, process_worker())
    device = record.accepted[3]
    inputs, y = process_worker().local_inputs(device, prepared.task, prepared.model)
    logits = prepared.model.logits(prepared.model.initial(), inputs).astype(np.float64)
    true = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y])
    assert seen["losses"][3] == pytest.approx(true, rel=1e-5)


@pytest.mark.parametrize("claim", [None, float("nan"), float("inf"), -1.0])
def test_an_update_whose_loss_is_none_is_dropped_and_the_round_goes_on(tmp_path, monkeypatch, claim):
    plain = Update.to_bytes

    def to_bytes(update: Update) -> bytes:
        if update.loss is None or to_bytes.lied:
            return plain(update)
        to_bytes.lied = True
        return plain(Update(**{**vars(update), "loss": claim}))

    to_bytes.lied = False
    monkeypatch.setattr(Update, "to_bytes", to_bytes)
    folder = created(tmp_path, *OPEN, "rounds=1", "training.fairness=1.0")
    (record,) = run(folder)
    assert len(record.accepted) == 10
    assert set(record.dropped.values()) <= {"shape", "finite"}
    assert not record.extra["skipped"]


def test_other_runs_are_told_nothing_of_it(tmp_path, monkeypatch):
    words = []
    plain = Instruction.to_bytes
    monkeypatch.setattr(Instruction, "to_bytes", lambda one: words.append(plain(one)) or words[-1])
    folder = created(tmp_path, *OPEN, "rounds=1")
    run(folder)
    assert words
    assert all(b"variate" not in one and b"loss" not in one for one in words)
    assert last(folder).variates is None
    assert not kept_by_devices(folder)
