"""A device's own last layer never leaves it, and costs no privacy beyond what was debited."""

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from skerry.clock import system_clock
from skerry.config import ModelConfig, TaskConfig
from skerry.device.local_model import build_local_model, load_local_model
from skerry.device.participation import participate
from skerry.device.personal import FILE, PersonalModel
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.errors import DiskFullError
from skerry.security.privacy import seeded_stream
from skerry.security.privacy.ledger import Ledger
from skerry.server.launch import launch

PRIVATE = TrainPlan(learning_rate=0.05, unit="example", noise_multiplier=1.0, denominator=14, epochs=2)
PLAIN = TrainPlan(learning_rate=0.005, unit="none", batch_size=5, epochs=2)


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield
    sys.modules.pop("tiny_tasks", None)


@pytest.fixture(scope="module")
def task():
    import tiny_tasks

    return tiny_tasks.TinyWindows(TaskConfig(), ModelConfig())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def models(task, store):
    """The model with a shared head, and with personal ones."""
    import tiny_tasks

    found = []
    for own in (False, True):
        config = tiny_tasks.config("tail", personal_head=own)
        found.append(load_local_model(config, build_local_model(config, task, store=store), task, store))
    return found


def heads_of(folder) -> dict[str, dict[str, np.ndarray]]:
    return {path.parent.name: load_file(path) for path in (folder.path / "fleet").glob(f"*/{FILE}")}


@pytest.mark.parametrize("unit", ["example", "none"])
def test_heads_stay_at_home_and_differ(unit, tmp_path):
    import tiny_tasks

    scenario = tiny_tasks.scenario("tail", "TinyWindows", unit, "model.personal_head=true")
    folder = launch(scenario, engine="inprocess", parent=tmp_path)
    layout = json.loads((folder.path / "model" / "base.json").read_text())["layout"]
    assert layout
    assert not any(name.startswith("classifier") for name, _ in layout)
    heads = heads_of(folder)
    assert set(heads) == {"device-0", "device-1", "device-2"}
    assert all(set(head) == {"classifier.weight", "classifier.bias"} for head in heads.values())
    one, two, three = (heads[device]["classifier.weight"] for device in sorted(heads))
    assert np.abs(one - two).max() > 1e-4
    assert np.abs(two - three).max() > 1e-4
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in (folder.path / "fleet").glob(f"*/{FILE}"))
    result = json.loads((folder.path / "result.json").read_text())
    assert set(result["quality"]["devices"]) == {"device-0", "device-1", "device-2", "held-out", "other"}
    released = {path.name for path in (folder.path / "release").rglob("*")}
    assert FILE not in released


def test_network_and_head_are_clipped_and_noised_as_one_vector(models, task):
    whole, own = models
    data = task.local_data("device-1")
    inputs, head = own.prepare(data.x), own.initial_head() + np.float32(0.1)
    delta, kept = own.train_with(head, own.initial(), inputs, data.y, PRIVATE, seeded_stream(5))
    joined = own.joined(own.initial(), head)
    expected = whole.train(joined, inputs, data.y, PRIVATE, seeded_stream(5))
    assert np.allclose(own.joined(delta, kept - head), expected, atol=1e-6)
    assert delta.size + kept.size == whole.layout.size
    # The head moves by noise too: with other noise it is another.
    assert not np.allclose(kept, own.train_with(head, own.initial(), inputs, data.y, PRIVATE, seeded_stream(6))[1])


def test_a_head_that_was_trained_without_privacy_is_not_used_under_it(models, tmp_path):
    own: PersonalModel = models[1]
    head = own.initial_head() + np.float32(1)
    own.keep_head(tmp_path, head, PLAIN)
    assert np.array_equal(own.read_head(tmp_path, PLAIN), head)
    assert np.array_equal(own.read_head(tmp_path, PRIVATE), own.initial_head())
    own.keep_head(tmp_path, head, PRIVATE)
    assert np.array_equal(own.read_head(tmp_path, PRIVATE), head)


@pytest.mark.parametrize("spoil", ["nothing", "torn", "other base", "nan"])
def test_without_a_usable_head_a_device_starts_from_the_public_one(spoil, models, tmp_path):
    own: PersonalModel = models[1]
    head = own.initial_head() + np.float32(1)
    own.keep_head(tmp_path, np.full_like(head, np.nan) if spoil == "nan" else head, PRIVATE)
    path = tmp_path / FILE
    if spoil == "nothing":
        path.unlink()
    elif spoil == "torn":
        path.write_bytes(path.read_bytes()[:-7])
    elif spoil == "other base":
        path.write_bytes(path.read_bytes().replace(own.digest.encode(), b"0" * 64))
    assert np.array_equal(own.read_head(tmp_path, PRIVATE), own.initial_head())


def test_a_newcomer_fits_its_head_on_half_of_its_examples_and_is_measured_on_the_others(models, task):
    own: PersonalModel = models[1]
    data = task.evaluation()["held-out"]
    inputs = own.prepare(data.x)
    for form in ("training", "deployed", "float"):
        scores, y = own.newcomer(own.initial(), data.x, inputs, data.y, form)
        assert np.array_equal(y, data.y[1::2])
        assert scores.shape == (len(y), 3)
    trained = own.newcomer(own.initial(), data.x, inputs, data.y, "training")[0]
    public = own.logits(own.initial(), inputs[np.arange(1, len(data), 2)])
    fitted_right, public_right = ((s.argmax(1) == data.y[1::2]).mean() for s in (trained, public))
    assert fitted_right >= public_right
    # What is measured plays no part in the fit.
    spoilt = data.y.copy()
    spoilt[1::2] = (spoilt[1::2] + 1) % 3
    again = own.newcomer(own.initial(), data.x, inputs, spoilt, "training")[0]
    assert np.array_equal(again, trained)


def test_a_head_is_not_kept_before_its_debit_is_on_the_disk(models, tmp_path, monkeypatch):
    """Kept and used again, it would carry what was never debited into the next round."""
    import tiny_tasks

    from skerry.device import participation

    kept: list[bool] = []

    class Refusing:
        """The disk is full when the debit is settled, after training."""

        def __enter__(self):
            return type("Entry", (), {"hash": ""})()

        def __exit__(self, kind, error, trace):
            raise DiskFullError("no space left on the device")

    scenario = tiny_tasks.scenario("tail", "TinyWindows", "example", "model.personal_head=true", "rounds=1")
    folder = launch(scenario, engine="inprocess", parent=tmp_path)
    home = folder.path / "fleet" / "device-0"
    before = (home / FILE).read_bytes()
    monkeypatch.setattr(PersonalModel, "keep_head", lambda *_: kept.append(True))
    worker = Worker()
    monkeypatch.setattr(Ledger, "debiting", lambda *_args, **_named: Refusing())
    seen = []
    monkeypatch.setattr(participation, "open_envelope", lambda *_a, **_k: seen.append(1) or _opened(folder))
    with pytest.raises(DiskFullError):
        participate(b"", worker.resident(home), worker, system_clock)
    assert seen
    assert not kept
    assert (home / FILE).read_bytes() == before


def _opened(folder):
    """An instruction for the next round, as if it had just been unsealed."""
    from skerry.device.protocol import Instruction
    from skerry.device.worker import process_worker
    from skerry.security.envelope import Header, Kind, Opened

    model = next(m for m in process_worker().models.values() if isinstance(m, PersonalModel))
    header = Header(
        kind=Kind.INSTRUCTION, run=folder.id, round=2, sender="coordinator", receiver="device-0", model=model.digest,
        nonce=bytes(16), in_reply_to=b"", issued=system_clock(), expires=system_clock() + 60_000,
    )  # fmt: skip
    payload = Instruction(model.initial(), model.layout.digest, PRIVATE, 0).to_bytes()
    return Opened(header=header, payload=payload, digest=bytes(32), body=bytes(32), signature=bytes(64))
