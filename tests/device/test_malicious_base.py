"""A base that a malicious coordinator delivers: what a device refuses by name, and what cannot hurt it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save, save_file

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig
from skerry.device import basemodel, worker
from skerry.device.head_model import HeadModel
from skerry.device.protocol import Update
from skerry.device.runtime import OnnxModel
from skerry.device.store import model_store
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.errors import RefusedError
from skerry.security.envelope import Kind

from ._victim import Victim, assert_bounded


def _crafted_base(tmp_path: Path, base: str, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """A base in the device's own store under a digest that is true; without the facts that are None."""
    made = tmp_path / "crafted"
    shutil.copytree(model_store() / base, made)
    for name, data in files.items():
        (made / name).write_bytes(data)
    manifest = json.loads((made / "base.json").read_text()) | facts
    manifest = {name: fact for name, fact in manifest.items() if fact is not None}
    manifest["files"] = {name: sha256_hex((made / name).read_bytes()) for name in manifest["files"]}
    text = json.dumps(manifest).encode()
    (made / "base.json").write_bytes(text)
    return sha256_hex(text)


@pytest.fixture
def place(victim: Victim, tmp_path: Path, monkeypatch):
    """Puts a crafted base beside the true one, as a release of the malicious coordinator's would."""
    store = tmp_path / "home" / "models"
    shutil.copytree(model_store() / victim.base, store / victim.base)

    def put(facts: Mapping[str, Any], **files: bytes) -> str:
        named = {name.replace("_", "."): data for name, data in files.items()}
        digest = _crafted_base(tmp_path, victim.base, facts, named)
        (tmp_path / "crafted").rename(store / digest)
        monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
        return digest

    return put


def test_a_base_that_was_never_delivered_is_refused(victim: Victim):
    assert victim.refusal(base="0" * 64) == "unknown_model"


@pytest.mark.parametrize(
    "facts", [{"architecture": "mobilenet_v2"}, {"bits": 32}, {"grid": 1}, {"classes": list("0123456789a")}]
)
def test_a_base_that_says_it_is_of_another_kind_than_agreed_is_refused(victim: Victim, place, facts):
    assert victim.refusal(base=place(facts)) == "wrong_model"


def _head(victim: Victim, **changed: npt.NDArray[Any]) -> bytes:
    return save(load_file(model_store() / victim.base / "head.safetensors") | changed)


def _narrow(model: bytes) -> bytes:
    """The network with one feature fewer than its whitening reads."""
    network = onnx.load_from_string(model)
    (last,) = network.graph.output
    count = last.type.tensor_type.shape.dim[1].dim_value
    network.graph.initializer.append(numpy_helper.from_array(np.eye(count, count - 1, dtype=np.float32), "c.most"))
    network.graph.node.append(helper.make_node("Gemm", [last.name, "c.most"], ["crafted"]))
    last.name, last.type.tensor_type.shape.dim[1].dim_value = "crafted", count - 1
    return network.SerializeToString()


@pytest.mark.parametrize(
    "facts",
    [
        {"schema": None}, {"schema": 1}, {"bits": [8]}, {"classes": None}, {"classes": [1]}, {"input_shape": [3, 96]},
        {"input_shape": "393"}, {"bias": "x"}, {"longest_row": float("inf")}, {"longest_row": 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_base_whose_facts_are_malformed_is_refused(victim: Victim, place, facts):
    assert victim.refusal(base=place(facts)) == "unknown_model"


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": np.zeros(7, np.float32)},
        {"scale": np.zeros(7, np.float32)},
        {"mean": np.zeros(7, np.float32), "scale": np.zeros(7, np.float32), "values": np.zeros((7, 256), np.int8)},
        {"values": np.zeros(7, np.int8)},
        {"values": np.zeros((7, 0), np.int8), "mean": np.zeros(7, np.float32), "scale": np.zeros(7, np.float32)},
        {"mean": np.zeros(7, np.float64)},
        {"initial": np.zeros((10, 7), np.float32)},
        {"other": np.zeros(1, np.float32)},
    ],
    ids=lambda changed: " ".join(f"{name}{part.shape}" for name, part in changed.items()),
)
def test_a_base_whose_whitening_or_head_is_of_another_size_is_refused(victim: Victim, place, changed):
    assert victim.refusal(base=place({}, head_safetensors=_head(victim, **changed))) == "unknown_model"


def test_a_base_whose_files_are_none_is_refused(victim: Victim, place):
    true = (model_store() / victim.base / "base.int8.onnx").read_bytes()
    assert victim.refusal(base=place({}, head_safetensors=b"none")) == "unknown_model"
    assert victim.refusal(base=place({}, base_int8_onnx=b"")) == "unknown_model"
    assert victim.refusal(base=place({}, base_int8_onnx=_narrow(true))) == "unknown_model"


def test_a_manifest_that_names_no_files_is_refused(victim: Victim, place, tmp_path):
    place({})
    for text in (b"[]", b"{}", b"nothing", b'{"files": 1}', b"[" * 100_000):
        folder = tmp_path / "home" / "models" / sha256_hex(text)
        folder.mkdir()
        (folder / "base.json").write_bytes(text)
        assert victim.refusal(base=folder.name) == "unknown_model"


def _twin_without_a_constant(model: bytes) -> bytes:
    network = onnx.load_from_string(model)
    del network.graph.initializer[0]
    return network.SerializeToString()


@pytest.mark.parametrize("crafted", [_twin_without_a_constant, _narrow, lambda model: b""])
def test_a_float_twin_that_cannot_be_trained_through_is_refused(victim: Victim, place, crafted):
    true = (model_store() / victim.base / "base.fp32.onnx").read_bytes()
    base = place({}, base_fp32_onnx=crafted(true))
    attacks = {"adversarial": "fgsm_rs", "adversarial_epsilon": 4.0}
    assert victim.refusal(base=base, plan=attacks) == "unknown_model"


def _with_random_layer(model: bytes) -> bytes:
    """The network with noise added to its features: drawn in turn, so one example's depends on those before it."""
    network = onnx.load_from_string(model)
    (last,) = network.graph.output
    given = last.name
    shape = [1, last.type.tensor_type.shape.dim[1].dim_value]
    network.graph.node.append(helper.make_node("RandomNormal", [], ["drawn"], shape=shape, seed=1.0, scale=5.0))
    network.graph.node.append(helper.make_node("Add", [given, "drawn"], ["crafted"]))
    last.name = "crafted"
    return network.SerializeToString()


def test_a_base_with_a_crafted_layer_is_refused(victim: Victim, place):
    """The layer does what the device must not allow: with it, removing one example moves the rows of others."""
    true = (model_store() / victim.base / "base.int8.onnx").read_bytes()
    crafted = _with_random_layer(true)
    x = victim.task.transform(victim.task.local_data(victim.home.device).x[:3])
    assert not np.array_equal(OnnxModel(crafted).run(x)[1:], OnnxModel(crafted).run(x[1:]))
    assert victim.refusal(base=place({}, base_int8_onnx=crafted)) == "layer_refused"


def test_a_base_with_a_crafted_layer_is_read_once_and_few_are_remembered(victim: Victim, place, monkeypatch):
    base = place({}, base_int8_onnx=_with_random_layer((model_store() / victim.base / "base.int8.onnx").read_bytes()))
    read = []

    def check(data: bytes, where: str) -> None:
        read.append(where)
        raise RefusedError("layer_refused", "strange")

    monkeypatch.setattr(basemodel, "check_operations", check)
    assert [victim.refusal(base=base) for _ in range(3)] == ["layer_refused"] * 3
    assert len(read) == 1
    config = victim.home.model
    monkeypatch.setattr(worker, "load_local_model", lambda *_: check(b"", "another"))
    for number in range(200):
        with pytest.raises(RefusedError):
            victim.worker.model(config, f"{number:064x}", victim.task)
    assert len(victim.worker.refusals) == 64
    assert victim.refusal(base=base) == "layer_refused"
    assert len(read) == 202  # the first was forgotten


def test_a_base_that_was_repaired_is_used_though_it_was_refused_before(victim: Victim, place):
    broken = place({}, base_int8_onnx=(model_store() / victim.base / "base.int8.onnx").read_bytes())
    path = model_store() / broken / "head.safetensors"
    data = path.read_bytes()
    path.unlink()
    assert victim.refusal(base=broken) == "wrong_model"
    path.write_bytes(data)
    victim.worker.model(victim.home.model, broken, victim.task)


def _failing_below(model: bytes, threshold: float) -> bytes:
    """The network as it is, but that it fails on pictures whose first feature is not above the threshold."""
    network = onnx.load_from_string(model)
    (last,) = network.graph.output
    given, count = last.name, last.type.tensor_type.shape.dim[1].dim_value
    start, scale = np.ones((1, count), np.float32), np.zeros((1, count), np.float32)
    start[0, 0], scale[0, 0] = -1e6 * threshold, 1e6
    constants = {"scale": scale, "start": start, "nothing": np.zeros((), np.float32), "most": np.float32(1e6)}
    network.graph.initializer.extend(numpy_helper.from_array(np.asarray(c), f"c.{n}") for n, c in constants.items())
    network.graph.node.extend(
        [
            helper.make_node("Mul", [given, "c.scale"], ["c.scaled"]),
            helper.make_node("Add", ["c.scaled", "c.start"], ["c.above"]),
            helper.make_node("Clip", ["c.above", "c.nothing", "c.most"], ["c.cut"]),
            helper.make_node("Cast", ["c.cut"], ["c.whole"], to=onnx.TensorProto.INT32),
            helper.make_node("Div", ["c.whole", "c.whole"], ["c.one"]),
            helper.make_node("Cast", ["c.one"], ["c.float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [given, "c.float"], ["crafted"]),
        ]
    )
    last.name = "crafted"
    return network.SerializeToString()


def test_an_example_on_which_a_crafted_base_fails_is_left_out_and_nothing_tells_it(victim: Victim, place, monkeypatch):
    """Such a base is refused by its operations; should one come through, its failure moves its own row alone."""
    true = (model_store() / victim.base / "base.int8.onnx").read_bytes()
    x = victim.task.transform(victim.task.local_data(victim.home.device).x)
    features = OnnxModel(true).run(x)
    crafted = _failing_below(true, float(np.median(features[:, 0])))
    with pytest.raises(Exception, match="division by zero"):
        OnnxModel(crafted).run(x)
    fails = np.isnan(OnnxModel(crafted, private=True).run(x)).all(axis=1)
    assert 0 < fails.sum() < len(x)

    digest = place({}, base_int8_onnx=crafted)
    assert victim.refusal(base=digest) == "layer_refused"
    monkeypatch.setattr(basemodel, "check_operations", lambda *_: None)
    victim.worker.refusals.clear()
    rows, y = victim.examples
    seen, _ = victim.worker.local_inputs(
        victim.home.device, victim.task, victim.worker.model(victim.home.model, digest, victim.task)
    )
    assert np.array_equal(seen[~fails], rows[~fails])
    assert np.isnan(seen[fails, :-1]).all()
    opened = victim.ask(base=digest)
    assert opened.header.kind is Kind.UPDATE
    assert np.isfinite(Update.from_bytes(opened.payload).delta).all()
    grid = Grid(1.0, 1.0, victim.model.layout.size)
    trainer, weight = HeadTrainer(10, rows.shape[1]), victim.model.initial().reshape(10, -1).astype(np.float64)
    sums = [trainer.integer_sum(weight, *part, grid) for part in ((seen, y), (rows[~fails], y[~fails]))]
    assert np.array_equal(*sums)


@pytest.mark.parametrize("row", [np.nan, np.inf, 1e30])
def test_rows_that_a_crafted_whitening_blows_up_weigh_no_more_than_any_others(victim: Victim, place, tmp_path, row):
    """Same architecture, other numbers: no rule can tell, and none has to. The clip bounds what comes out."""
    tensors = load_file(model_store() / victim.base / "head.safetensors")
    tensors["scale"][:] = row
    save_file(tensors, tmp_path / "head.safetensors")
    crafted = place({"longest_row": 1e38}, head_safetensors=(tmp_path / "head.safetensors").read_bytes())
    config = victim.home.model
    assert isinstance(config, ModelConfig)
    features = HeadModel(config, crafted, victim.task).prepare(victim.task.local_data(victim.home.device).x[:20])
    assert not np.isfinite(features).all() or np.abs(features).max() > 1e20
    assert_bounded(victim.model.initial(), features, victim.examples[1][:20], victim)
