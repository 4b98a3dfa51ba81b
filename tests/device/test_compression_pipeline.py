"""A recipe's figures are those of its files, what was stopped goes on, and what cannot be done is told at once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from skerry.config.recipe import BudgetConfig, Recipe
from skerry.device.compression.bits import uniform_bits
from skerry.device.compression.budget import broken_parts, excess
from skerry.device.compression.fake_quant import FakeQuantGraphModule
from skerry.device.compression.figures import Figures
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.kept import PACKED, keep
from skerry.device.compression.packing import load_packed
from skerry.device.compression.pipeline import Compressed, compress, recipe_task
from skerry.device.compression.quantization_file import load_quantization
from skerry.device.compression.steps import State
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.runtime import OnnxModel
from skerry.device.training.central import predict
from skerry.errors import InputError
from tests._hurried import hurried_latencies

TRAIN = {"kind": "train", "epochs": 5, "batch_size": 50, "learning_rate": 0.1}
PRUNE = {"kind": "prune", "keep_macs": 0.5}
DISTIL = {"kind": "distil", "epochs": 3, "batch_size": 50, "learning_rate": 0.1}
INT8 = {"kind": "int8", "calibration": 64}


class Watching:
    """Notes what it is told; raises ``error`` when training of a step comes as far as ``stop``."""

    def __init__(self, stop: tuple[int, int] | None = None, error: BaseException | None = None) -> None:
        self.begun, self.trained, self.ended, self._stop, self._error = [], 0, [], stop, error

    def begin(self, number, of, kind):
        self.begun.append(kind)

    def training(self, progress):
        self.trained += 1
        if (len(self.ended) + 1, progress.done) == self._stop:
            raise self._error

    def measuring(self):
        pass

    def end(self, stage):
        self.ended.append(stage)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, hurried: None) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def recipe(*steps: dict, task: str = "WavesTask", seed: int = 0, model: dict | None = None, **more) -> Recipe:
    return Recipe.model_validate(
        {
            "task": {"name": f"waves_task:{task}"},
            "model": {"architecture": "ds_cnn", "width": 1.5, "input_size": 32} | (model or {}),
            "steps": steps or (TRAIN, PRUNE, DISTIL, INT8),
            "seed": seed,
        }
        | more
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    with pytest.MonkeyPatch.context() as patch, hurried_latencies():
        patch.syspath_prepend(str(Path(__file__).parent))
        return compress(recipe(), tmp_path_factory.mktemp("done"), Watching())


@pytest.fixture
def copy(done: Compressed, tmp_path: Path) -> Path:
    shutil.copytree(done.out, tmp_path / "copy")
    return tmp_path / "copy"


def weights(path: Path) -> np.ndarray:
    nodes = load_graph(path / "graph.safetensors").nodes
    return np.concatenate([node.weight.ravel() for node in nodes if node.weight is not None])


def test_every_figure_is_that_of_the_file_that_was_left(done: Compressed):
    task = recipe_task(done.recipe)
    parts = list(task.evaluation().values())
    x, y = np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts])
    before = predict(GraphModule(load_graph(done.out / "steps/00-uncompressed/graph.safetensors")), x).argmax(1)
    for stage in done.stages:
        folder = done.out / "steps" / stage.folder
        file = next(folder.glob("*.onnx"))
        graph = load_graph(folder / "graph.safetensors")
        said = OnnxModel(file).run(x).argmax(1)
        f = stage.figures
        assert f.accuracy == pytest.approx((said == y).mean())
        assert (f.bytes, f.macs, f.parameters) == (file.stat().st_size, graph.macs(), graph.parameters())
        assert f.latency_ms > 0
        if stage.number > 1:
            assert f.agreement == pytest.approx((said == before).mean(), abs=0.01)
    assert [s.figures.agreement is None for s in done.stages] == [True, False, False, False]


def test_it_gets_smaller_and_learns_back_what_pruning_took(done: Compressed):
    train, prune, distil, int8 = (stage.figures for stage in done.stages)
    assert done.uncompressed.figures.accuracy == train.accuracy > 0.85
    assert prune.macs <= 0.5 * train.macs
    assert prune.accuracy < train.accuracy - 0.1
    assert distil.accuracy > train.accuracy - 0.05
    assert int8.bytes < 0.6 * distil.bytes < 0.6 * train.bytes
    assert int8.agreement > 0.9


def test_the_summary_and_the_delivered_files_are_the_last_step(done: Compressed):
    summary = json.loads((done.out / "summary.json").read_text())
    assert summary == json.loads(json.dumps(done.to_json()))
    assert summary["final"]["accuracy"] == done.stages[-1].figures.accuracy
    assert set(summary["files"]) == {"graph.safetensors", "quantization.safetensors", "model.int8.onnx"}
    for name in summary["files"]:
        assert (done.out / "model" / name).read_bytes() == (done.out / "steps/04-int8" / name).read_bytes()
    assert not list(done.out.rglob(".*"))


def test_what_was_stopped_goes_on_and_ends_as_if_it_had_not_been(done: Compressed, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        compress(recipe(), tmp_path, Watching((3, 4), KeyboardInterrupt()))
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == ["00-uncompressed", "01-train", "02-prune"]
    assert not (tmp_path / "summary.json").exists()
    again = compress(recipe(), tmp_path, Watching())
    assert [s.reused for s in again.stages] == [True, True, False, False]
    assert np.array_equal(weights(tmp_path / "model"), weights(done.out / "model"))
    assert [s.figures.accuracy for s in again.stages] == [s.figures.accuracy for s in done.stages]
    assert again.stages[3].figures.agreement == done.stages[3].figures.agreement


def test_only_what_has_changed_and_what_follows_is_taken_anew(copy: Path):
    softer = recipe(TRAIN, {**PRUNE, "keep_macs": 0.7}, INT8)
    assert [s.reused for s in compress(softer, copy, Watching()).stages] == [True, False, False]
    assert {p.name for p in (copy / "model").iterdir()} == {
        "graph.safetensors", "quantization.safetensors", "model.int8.onnx",
    }  # fmt: skip
    assert not compress(recipe(TRAIN, seed=1), copy, Watching()).stages[0].reused
    assert (copy / "model" / "model.fp32.onnx").exists()
    assert not (copy / "model" / "model.int8.onnx").exists()


def test_other_data_and_damaged_files_are_not_reused(copy: Path):
    damaged = copy / "steps/02-prune/graph.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert [s.reused for s in compress(recipe(), copy, Watching()).stages] == [True, False, True, True]
    other = recipe(TRAIN, task="WavesTask")
    other = other.model_copy(update={"task": other.task.model_copy(update={"seed": 5})})
    assert not compress(other, copy, Watching()).stages[0].reused


def test_figures_of_other_held_out_data_are_not_reused(done: Compressed, copy: Path):
    made = compress(recipe(TRAIN, task="HarderTask"), copy, Watching())
    assert not made.stages[0].reused
    assert made.stages[0].figures.accuracy < done.stages[0].figures.accuracy - 0.1


def test_a_teacher_is_listened_to_and_its_content_counts(done: Compressed, tmp_path: Path):
    file, teacher = tmp_path / "mine.safetensors", tmp_path / "teacher.safetensors"
    shutil.copy(done.out / "steps/01-train/graph.safetensors", file)
    save_graph(trace(build_network("ds_cnn", inputs=(2, 1, 32), classes=4).eval(), (2, 1, 32)), teacher)
    taught = recipe({**DISTIL, "teacher": teacher, "weight": 1.0}, model={"file": file})
    astray = compress(taught, tmp_path / "out", Watching()).stages[0]
    assert astray.figures.accuracy < 0.6
    assert compress(taught, tmp_path / "out", Watching()).stages[0].reused
    shutil.copy(file, teacher)
    back = compress(taught, tmp_path / "out", Watching()).stages[0]
    assert not back.reused
    assert back.figures.accuracy > 0.8


def test_a_step_whose_measuring_fails_leaves_nothing(done: Compressed, tmp_path: Path):
    def measure(files):
        assert files.runs.is_file()
        raise KeyboardInterrupt

    state = State(load_graph(done.out / "steps/01-train/graph.safetensors"))
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / "steps/01-train", "key", state, measure)
    assert not list((tmp_path / "steps").iterdir())


def test_a_trained_graph_is_compressed_without_its_maker(done: Compressed, tmp_path: Path):
    file = tmp_path / "mine.safetensors"
    shutil.copy(done.out / "steps/01-train/graph.safetensors", file)
    made = compress(recipe(INT8, model={"file": file}), tmp_path / "out", Watching())
    assert [row.kind for row in made.rows] == ["uncompressed", "int8"]
    assert made.uncompressed.figures.accuracy == done.stages[0].figures.accuracy
    assert made.stages[0].figures.agreement > 0.95
    taught = recipe({**DISTIL, "teacher": file, "weight": 1.0}, model={"file": file}, task="UnlabelledTask")
    again = compress(taught, tmp_path / "taught", Watching())
    assert again.stages[0].figures.accuracy > 0.8


def test_a_network_or_teacher_for_another_task_is_refused_before_anything_is_trained(tmp_path: Path):
    file = tmp_path / "other.safetensors"
    save_graph(trace(build_network("ds_cnn", inputs=(2, 1, 32), classes=7).eval(), (2, 1, 32)), file)
    watcher = Watching()
    for bad in (recipe(INT8, model={"file": file}), recipe(TRAIN, {**DISTIL, "teacher": file})):
        with pytest.raises(InputError, match="7 outputs"):
            compress(bad, tmp_path / "out", watcher)
    assert not watcher.begun
    assert not (tmp_path / "out").exists()


def test_bad_data_and_impossible_targets_are_told(copy: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no public data"):
        compress(recipe(TRAIN, task="EmptyTask"), tmp_path / "a", Watching())
    with pytest.raises(InputError, match="no label"):
        compress(recipe(TRAIN, task="UnlabelledTask"), tmp_path / "b", Watching())
    with pytest.raises(InputError, match="is the least"):
        compress(recipe(TRAIN, {**PRUNE, "keep_macs": 0.01}), copy, Watching())


def test_training_in_int8_is_a_step_behind_int8_and_its_file_is_what_was_trained(done: Compressed, copy: Path):
    qat = {"kind": "qat", "epochs": 2, "batch_size": 50}
    made = compress(recipe(TRAIN, PRUNE, DISTIL, INT8, qat), copy, Watching())
    assert [s.reused for s in made.stages] == [True, True, True, True, False]
    int8, trained = (stage.figures for stage in made.stages[3:])
    assert trained.bytes == pytest.approx(int8.bytes, rel=0.01)
    assert trained.accuracy > int8.accuracy - 0.02
    before, after = copy / "steps/04-int8", copy / "steps/05-qat"
    assert not np.array_equal(weights(before), weights(after))
    assert (
        load_quantization(before / "quantization.safetensors").tensors
        == load_quantization(after / "quantization.safetensors").tensors
    )
    seen = FakeQuantGraphModule(
        load_graph(after / "graph.safetensors"), load_quantization(after / "quantization.safetensors")
    )
    x = recipe_task(made.recipe).evaluation()["one"].x
    assert np.abs(predict(seen, x) - OnnxModel(after / "model.int8.onnx").run(x)).mean() < 0.01
    assert compress(recipe(TRAIN, PRUNE, DISTIL, INT8, qat), copy, Watching()).stages[4].reused


def test_training_in_int8_listens_to_its_teacher(done: Compressed, tmp_path: Path):
    file, teacher = tmp_path / "mine.safetensors", tmp_path / "teacher.safetensors"
    shutil.copy(done.out / "steps/01-train/graph.safetensors", file)
    save_graph(trace(build_network("ds_cnn", inputs=(2, 1, 32), classes=4).eval(), (2, 1, 32)), teacher)
    qat = {"kind": "qat", "epochs": 2, "batch_size": 50, "weight": 1.0}
    own = compress(recipe(INT8, qat, model={"file": file}, task="UnlabelledTask"), tmp_path / "own", Watching())
    assert own.stages[1].figures.accuracy > 0.8
    astray = recipe(INT8, qat | {"teacher": teacher, "learning_rate": 0.05}, model={"file": file})
    assert compress(astray, tmp_path / "astray", Watching()).stages[1].figures.accuracy < 0.8


@pytest.mark.parametrize(("kinds", "said"), [("train qat", "put it behind"), ("train int8 qat prune", "put it before")])
def test_training_in_int8_has_its_place(kinds: str, said: str):
    with pytest.raises(ValidationError, match=said):
        recipe(*({"kind": kind} for kind in kinds.split()))


def test_a_budget_says_what_is_broken_and_how_far_it_is():
    before = Figures(0.90, 0.3, None, 1_000_000, 10, 10, 2.0)
    small = replace(before, accuracy=0.86, bytes=250_000, latency_ms=1.0, agreement=0.9)
    assert broken_parts(BudgetConfig(), small, before) == ()
    assert broken_parts(BudgetConfig(size_kb=250, latency_ms=1.0, accuracy_drop=0.0401), small, before) == ()
    tight = BudgetConfig(size_kb=200, latency_ms=0.5, accuracy_drop=0.03)
    assert len(broken_parts(tight, small, before)) == 3
    assert excess(tight, small, before) == pytest.approx(1.0)
    assert excess(BudgetConfig(size_kb=200), small, before) == pytest.approx(0.25)
    assert excess(BudgetConfig(accuracy_drop=0.03), small, before) == pytest.approx(0.01)


def test_the_closest_stage_is_the_one_with_the_least_excess(done: Compressed):
    sizes = [stage.figures.bytes for stage in done.stages]
    near = Recipe.model_validate(done.recipe.model_dump() | {"budget": {"size_kb": min(sizes) / 2000}})
    assert replace(done, recipe=near).closest.kind == "int8"
    loose = Recipe.model_validate(done.recipe.model_dump() | {"budget": {"size_kb": 1000}})
    best = max(done.stages, key=lambda stage: stage.figures.accuracy)
    assert replace(done, recipe=loose).closest.figures.accuracy == best.figures.accuracy


def test_weights_of_few_bits_are_what_a_device_stores(done: Compressed, tmp_path: Path):
    file = tmp_path / "mine.safetensors"
    shutil.copy(done.out / "steps/03-distil/graph.safetensors", file)
    bits = {"kind": "bits", "keep_bytes": 0.75, "calibration": 64}
    few = recipe(bits, INT8, model={"file": file})
    made = compress(few, tmp_path / "out", Watching())
    first, second = made.stages
    packed = tmp_path / "out" / "steps" / first.folder / PACKED
    graph = load_graph(file)
    assert first.figures.bytes == packed.stat().st_size <= 0.75 * uniform_bits(graph, 8).bytes
    assert first.figures.agreement > 0.85
    assert second.figures.agreement > 0.85
    assert second.figures.bytes == (tmp_path / "out/model/model.int8.onnx").stat().st_size
    x = recipe_task(few).public_data().x
    runs = OnnxModel(packed.with_name("model.fp32.onnx")).run(x)
    assert np.allclose(runs, predict(GraphModule(load_packed(packed).graph), x), atol=1e-4)
    assert [stage.reused for stage in compress(few, tmp_path / "out", Watching()).stages] == [True, True]
    packed.write_bytes(packed.read_bytes()[:-1])
    assert [stage.reused for stage in compress(few, tmp_path / "out", Watching()).stages] == [False, True]
    with pytest.raises(InputError, match="is the least"):
        compress(recipe({**bits, "size_kb": 1.0}, model={"file": file}), tmp_path / "other", Watching())


def test_nothing_changes_weights_that_are_rounded():
    for steps in ([TRAIN, {"kind": "bits"}, PRUNE], [TRAIN, INT8, {"kind": "bits"}], [TRAIN, {"kind": "bits"}, TRAIN]):
        with pytest.raises(ValueError, match="has rounded; put it before"):
            recipe(*steps)
