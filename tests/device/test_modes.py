"""Every mode federates, with privacy and without, on pictures and on windows; what it trains is what is delivered."""

import itertools
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.local_model import build_local_model, load_local_model
from skerry.device.network_model import NetworkModel, RoundedInputs
from skerry.device.runtime import OnnxModel
from skerry.device.training.dp import Grid
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, RefusedError, RunFailedError, ScenarioError
from skerry.runfolder import RunFolder
from skerry.security.privacy import seeded_stream
from skerry.security.privacy.verification import verify_ledger
from skerry.server.evaluate import evaluate_held_out
from skerry.server.federation import Federation
from skerry.server.held_out import HeldOut
from skerry.server.launch import launch

HERE = Path(__file__).parent
MODES = ("tail", "bias", "lora", "qat", "full")
TASKS = ("TinyWindows", "TinyPictures")


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        yield
    sys.modules.pop("tiny_tasks", None)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def config(mode: str, **changes) -> ModelConfig:
    import tiny_tasks

    return tiny_tasks.config(mode, **changes)


def task_of(name: str):
    import tiny_tasks

    return getattr(tiny_tasks, name)(TaskConfig(), ModelConfig())


@pytest.fixture(scope="module")
def model_of(store):
    """Models by mode, built once."""
    made: dict[tuple, NetworkModel] = {}

    def make(mode: str, task: str = "TinyWindows", **changes) -> NetworkModel:
        key = (mode, task, tuple(sorted(changes.items())))
        if key not in made:
            chosen, data = config(mode, **changes), task_of(task)
            made[key] = load_local_model(chosen, build_local_model(chosen, data, store=store), data, store)
        return made[key]

    return make


def moved(model, seed: int = 3, scale: float = 0.05):
    """A vector that no build could have made."""
    initial = model.initial()
    return initial + np.random.default_rng(seed).normal(scale=scale, size=initial.shape).astype(np.float32)


def vector(folder: RunFolder) -> np.ndarray:
    (found,) = (folder.path / "checkpoint").glob("*.safetensors")
    tensors = load_file(found)
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


@pytest.mark.parametrize("unit", ["example", "none"])
@pytest.mark.parametrize(
    ("mode", "task"), [(m, "TinyWindows") for m in MODES] + [("full", "TinyPictures"), ("head", "TinyWindows")]
)
def test_every_mode_federates_and_what_is_delivered_is_what_was_measured(mode, task, unit, tmp_path):
    import tiny_tasks

    asked = tiny_tasks.scenario(mode, task, unit)
    folder = launch(asked, engine="inprocess", parent=tmp_path)
    result = json.loads((folder.path / "result.json").read_text())
    assert [record.accepted for record in folder.rounds()] == [("device-0", "device-1", "device-2")] * 2
    assert np.isfinite(vector(folder)).all()
    card = json.loads((folder.path / "model" / "card.json").read_text())
    assert card["trainable"] == mode
    data = task_of(task)
    delivered = OnnxModel(folder.path / "model" / "model.int8.onnx")
    held_out = data.evaluation()
    right = [delivered.run(data.transform(e.x)).argmax(1) == e.y for e in held_out.values()]
    assert result["quality"]["final"]["accuracy"] == pytest.approx(np.concatenate(right).mean())
    assert (folder.path / "release" / "manifest.json").exists() or list((folder.path / "release").iterdir())
    if unit == "example":
        ledgers = list((folder.path / "ledger" / "devices").glob("*.jsonl"))
        assert len(ledgers) == 3
        assert all(not verify_ledger(ledger, pld=False).problems for ledger in ledgers)
        assert 0 < result["privacy"]["epsilon_rdp"] <= 40.0


def test_a_federation_by_book_keeping_ends_where_one_by_one_does_and_says_what_it_assumes(tmp_path):
    import tiny_tasks

    vectors, said = [], []
    for engine in ("skerry", "bookkeeping"):
        asked = tiny_tasks.scenario("qat", "TinyPictures", "example", f"privacy.engine={engine}")
        folder = launch(asked, engine="inprocess", parent=tmp_path)
        assert [record.accepted for record in folder.rounds()] == [("device-0", "device-1", "device-2")] * 2
        vectors.append(vector(folder))
        said.append(json.loads((folder.path / "result.json").read_text())["privacy"]["assumptions"])
    moved = np.abs(vectors[0]).mean()
    assert np.abs(vectors[0] - vectors[1]).max() < 0.02 * moved  # the same noise, and gradients to last bits
    assert [sum("one fixed shape" in sentence for sentence in each) for each in said] == [0, 1]
    assert [sum("computed by itself" in sentence for sentence in each) for each in said] == [1, 0]


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_gives_the_same_vector(mode, model_of, store):
    data = task_of("TinyWindows")
    examples = data.local_data("device-1")
    plan = TrainPlan(learning_rate=0.2, unit="example", noise_multiplier=1.0, denominator=14, epochs=2)
    first = model_of(mode)
    chosen = config(mode)
    again = load_local_model(chosen, build_local_model(chosen, data, store=store), data, store)
    deltas = [
        m.train(m.initial(), m.prepare(examples.x), examples.y, plan, seeded_stream(7)) for m in (first, again, again)
    ]
    assert deltas[0].any()
    assert all(np.array_equal(deltas[0], delta) for delta in deltas[1:])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("by", ["skerry", "bookkeeping"])
def test_removing_one_example_moves_the_integer_sum_by_exactly_its_row(mode, task, by, model_of):
    model, examples = model_of(mode, task), task_of(task).local_data("device-0")
    trainer, inputs, y = model._trainer, model.prepare(examples.x), examples.y
    grid = Grid(0.5, 2.0, model.layout.size)
    weights = moved(model, scale=0.01).astype(np.float64)
    everybody = np.arange(len(y))
    whole = trainer.integer_sum(weights, inputs, y, everybody, grid, by=by)
    lengths = []
    for gone in (0, 5, len(y) - 1):
        without = model.prepare(np.delete(examples.x, gone, 0))
        rest = trainer.integer_sum(weights, without, np.delete(y, gone), everybody[:-1], grid, by=by)
        alone = trainer.integer_sum(weights, model.prepare(examples.x[[gone]]), y[[gone]], np.arange(1), grid, by=by)
        assert np.array_equal(whole - rest, alone)
        lengths.append(sum(int(v) ** 2 for v in alone))
    assert 0 < max(lengths) <= grid.bound**2
    assert trainer.left_out == 0


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "qat"])
@pytest.mark.parametrize("task", TASKS)
def test_the_graph_computes_what_was_trained(mode, task, model_of):
    # The front of a tail runs in int8 in training and in float in the graph: here it is float in both.
    bits = {"bits": 32} if mode == "tail" else {}
    model, examples = model_of(mode, task, **bits), task_of(task).local_data("device-0")
    vector = moved(model)
    trained = model.logits(vector, model.prepare(examples.x))
    graph = OnnxModel(to_onnx(model.graph(vector)).SerializeToString()).run(examples.x)
    assert np.abs(trained - graph).max() < 1e-4
    assert np.abs(model.logits(model.initial(), model.prepare(examples.x)) - trained).max() > 1e-3
    assert model.float_logits(vector, examples.x) == pytest.approx(graph)


@pytest.mark.parametrize("mode", MODES)
def test_the_deliverable_is_int8_and_near_the_float_network(mode, model_of, tmp_path):
    model, examples = model_of(mode), task_of("TinyWindows").evaluation()["held-out"]
    vector = moved(model)
    files = model.assemble(vector, tmp_path, {"run": "r"})
    scores = OnnxModel(files["model.int8.onnx"]).run(examples.x)
    floating = model.float_logits(vector, examples.x)
    assert np.corrcoef(scores.ravel(), floating.ravel())[0, 1] > 0.9
    assert np.array_equal(scores, model.deployed_logits(vector, examples.x, model.prepare(examples.x)))
    assert not np.array_equal(scores, floating)
    trained = load_file(files["trained.safetensors"])
    assert {name: part.shape for name, part in trained.items()} == dict(model.layout.tensors)
    card = json.loads(files["card.json"].read_text())
    assert card["base"]["digest"] == model.digest
    assert card["input"]["shape"] == ["n", 2, 1, 24]


def test_each_mode_trains_its_part_and_nothing_else(model_of):
    layouts = {mode: dict(model_of(mode).layout.tensors) for mode in MODES}
    whole = layouts["full"]
    assert not any(name.startswith("whiten") for layout in layouts.values() for name in layout)
    assert all({"classifier.weight", "classifier.bias"} <= set(layout) for layout in layouts.values())
    assert set(layouts["tail"]) < set(whole)
    assert layouts["qat"] == whole
    assert set(layouts["bias"]) == {n for n in whole if n.endswith(".bias")} | {"classifier.weight"}
    adapters = set(layouts["lora"]) - {"classifier.weight", "classifier.bias"}
    assert adapters
    assert all(name.endswith((".down.weight", ".up.weight")) for name in adapters)
    assert model_of("lora", rank=1).layout.size < model_of("lora").layout.size
    assert model_of("tail", tail_blocks=1).layout.size < model_of("tail").layout.size < model_of("full").layout.size


def test_adapters_start_as_nothing_and_their_base_is_int8(model_of):
    model, x = model_of("lora"), task_of("TinyWindows").local_data("device-0").x
    start = {name: part for name, part in model.layout.split(model.initial()).items() if name.endswith("up.weight")}
    assert start
    assert not any(part.any() for part in start.values())
    bias_model = model_of("bias")
    assert np.allclose(
        model.logits(model.initial(), x), bias_model.logits(bias_model.initial(), x), atol=1e-5
    )  # both see the rounded weights
    frozen = {b.dtype for n, b in model._mode.module.named_buffers() if n.endswith("values")}
    assert [str(kind) for kind in frozen] == ["torch.int8"]


@pytest.mark.parametrize("task", TASKS)
def test_what_sees_itself_in_int8_is_delivered_as_it_saw_itself(task, model_of):
    model, x = model_of("qat", task), task_of(task)._draw(60, 300).x
    vector = moved(model)
    seen, delivered = model.logits(vector, model.prepare(x)), model.deployed_logits(vector, x, model.prepare(x))
    assert (seen.argmax(1) == delivered.argmax(1)).mean() > 0.99
    gap = np.abs(seen - delivered).mean()
    assert gap < 0.01 * seen.std()
    assert gap < 0.1 * np.abs(model.float_logits(vector, x) - delivered).mean()
    before = model.deployed_logits(model.initial(), x, model.prepare(x))
    assert np.abs(before - delivered).mean() > 0.05 * seen.std()  # the vector matters


def test_a_tail_reads_features_of_its_cut_in_a_byte_each(model_of):
    model, x = model_of("tail"), task_of("TinyWindows").local_data("device-0").x
    inputs = model.prepare(x)
    assert isinstance(inputs, RoundedInputs)
    assert inputs.values.dtype == np.uint8
    assert inputs.values.std() > 10
    one = model.prepare(x[3:4])
    assert np.array_equal(one.values[0], inputs.values[3])
    front = model_of("tail", bits=32)
    exact = front.prepare(x)
    assert exact.dtype == np.float32
    assert np.abs(inputs[:] - exact).mean() < 0.1 * np.abs(exact).mean() + inputs.step


def test_whitening_is_fitted_where_public_examples_have_labels_only(model_of):
    names = {node.name for node in model_of("full")._whole.nodes}
    assert "whiten" in names
    plain = model_of("full", "UnlabelledWindows")
    assert "whiten" not in {node.name for node in plain._whole.nodes}
    classifier = plain.layout.split(plain.initial())["classifier.weight"]
    assert not classifier.any()
    assert plain.layout.split(plain.initial())["stages_0_conv.weight"].any()


def test_more_blocks_than_there_are_is_refused_with_the_number(store):
    with pytest.raises(ScenarioError, match="4 blocks") as caught:
        build_local_model(config("tail", tail_blocks=9), task_of("TinyWindows"), store=store)
    assert "1 and 4" in caught.value.mend


def test_an_altered_base_is_refused(store, tmp_path):
    digest = build_local_model(config("lora"), task_of("TinyWindows"), store=store)
    for name in ("network.safetensors", "quantization.safetensors", "base.json"):
        copy = tmp_path / name
        shutil.copytree(store / digest, copy / digest)
        path = copy / digest / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(RefusedError) as caught:
            load_local_model(config("lora"), digest, task_of("TinyWindows"), copy)
        assert caught.value.reason == "wrong_model"
    with pytest.raises(RefusedError, match="another tail_blocks"):
        load_local_model(config("tail"), digest, task_of("TinyWindows"), store)


def crafted(store: Path, digest: str, facts: dict, **files: bytes) -> str:
    """A copy of a base with other facts and files, whose digest is true."""
    made = store / "crafted"
    shutil.copytree(store / digest, made)
    for name, data in files.items():
        (made / name.replace("_", ".")).write_bytes(data)
    manifest = json.loads((made / "base.json").read_text()) | facts
    manifest = {name: fact for name, fact in manifest.items() if fact is not None}
    manifest["files"] = {name: sha256_hex((made / name).read_bytes()) for name in manifest["files"]}
    text = json.dumps(manifest).encode()
    (made / "base.json").write_bytes(text)
    made.rename(store / sha256_hex(text))
    return sha256_hex(text)


@pytest.mark.parametrize("facts", [{"cut": "nowhere"}, {"cut": 3}, {"cut": ["x"]}, {"cut": None}, {"cut": "x"}])
def test_a_base_whose_parts_do_not_fit_is_told_and_no_crash(store, facts):
    """``x`` is the input: a cut, but another than the one that the front ends at."""
    digest = build_local_model(config("tail"), task_of("TinyWindows"), store=store)
    with pytest.raises(InputError):
        load_local_model(config("tail"), crafted(store, digest, facts), task_of("TinyWindows"), store)


@pytest.mark.parametrize(
    "facts", [{"head": {"architecture": "mobilenet_v2"}}, {"head": 3}, {"tail_blocks": 7}, {"bits": 32}]
)
def test_a_base_that_says_it_is_of_another_kind_than_agreed_is_refused(store, facts):
    digest = build_local_model(config("tail"), task_of("TinyWindows"), store=store)
    with pytest.raises(RefusedError) as caught:
        load_local_model(config("tail"), crafted(store, digest, facts), task_of("TinyWindows"), store)
    assert caught.value.reason == "wrong_model"


def test_a_base_with_the_quantization_of_another_is_told_and_no_crash(store):
    pictures = build_local_model(config("lora"), task_of("TinyPictures"), store=store)
    digest = build_local_model(config("lora"), task_of("TinyWindows"), store=store)
    other = (store / pictures / "quantization.safetensors").read_bytes()
    with pytest.raises(InputError, match="do not fit together"):
        load_local_model(
            config("lora"), crafted(store, digest, {}, quantization_safetensors=other), task_of("TinyWindows"), store
        )


def test_a_base_is_found_again_and_repaired_when_damaged(tmp_path):
    data = task_of("TinyWindows")
    digest = build_local_model(config("full"), data, store=tmp_path)
    before = (tmp_path / digest / "network.safetensors").stat().st_mtime_ns
    assert build_local_model(config("bias"), data, store=tmp_path) == digest  # one base for all modes without a cut
    assert (tmp_path / digest / "network.safetensors").stat().st_mtime_ns == before


def test_training_that_diverges_ends_with_a_word_on_what_to_change(model_of):
    model = model_of("full")
    federation = SimpleNamespace(held_out=HeldOut(task_of("TinyWindows"), model), run="r")
    assert evaluate_held_out(federation, model.initial()).accuracy > 0
    with pytest.raises(RunFailedError, match="diverged") as caught:
        evaluate_held_out(federation, np.full(model.layout.size, 1e30, np.float32))
    assert "learning_rate" in caught.value.mend


def test_a_sampled_run_is_accounted_with_its_rate_by_both_sides(tmp_path):
    import tiny_tasks

    overrides = ("privacy.sampling_rate=0.25", "training.augment=shift", "training.schedule=cosine")
    folder = launch(
        tiny_tasks.scenario("bias", "TinyWindows", "example", *overrides), engine="inprocess", parent=tmp_path
    )
    result = json.loads((folder.path / "result.json").read_text())
    spent = result["privacy"]["epsilon_rdp"]
    assert 0 < spent <= 40.0
    assert folder.rounds()[-1].epsilon_max == pytest.approx(spent)  # the coordinator's own account
    opened = [json.loads(line) for line in (folder.path / "ledger" / "population.jsonl").read_text().splitlines()]
    (first, _) = [entry["body"]["mechanism"] for entry in opened if entry["kind"] == "round_open"]
    assert (first["steps"], first["sampling_rate"]) == (8, 0.25)
    assert "Poisson" in result["privacy"]["sampling"]


def test_a_cosine_schedule_falls_from_the_learning_rate_to_nearly_nothing():
    import tiny_tasks

    asked = tiny_tasks.scenario("bias", "TinyWindows", "none", "training.schedule=cosine", "rounds=5")
    federation = SimpleNamespace(scenario=asked, plan=TrainPlan(learning_rate=2.0, unit="none"))
    rates = [Federation.plan_for(federation, number).learning_rate for number in range(1, 6)]
    assert rates[0] == 2.0
    assert all(one > next_ for one, next_ in itertools.pairwise(rates))
    assert 0 < rates[-1] < 0.3
