"""A base is what its digest says, and one example's features depend on that example alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skerry.config import ModelConfig
from skerry.device import basebuild
from skerry.device.basebuild import build_base
from skerry.device.basemodel import BaseModel
from skerry.device.deliverable import assemble_model
from skerry.device.runtime import OnnxModel
from skerry.device.training.public_head import fit_public_head
from skerry.errors import InputError, RefusedError


@pytest.fixture
def copy(base: BaseModel, tmp_path) -> BaseModel:
    shutil.copytree(base.path, tmp_path / base.digest)
    return BaseModel.load(base.digest, tmp_path)


@pytest.mark.parametrize("name", ["base.json", "head.safetensors", "base.int8.onnx", "base.fp32.onnx"])
def test_one_changed_byte_is_noticed(copy: BaseModel, name, few):
    path = copy.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    def use() -> None:
        loaded = BaseModel.load(copy.digest, copy.path.parent)
        loaded.features(few[:1])
        loaded.float_features(few[:1])

    with pytest.raises(RefusedError) as caught:
        use()
    assert caught.value.reason == "wrong_model"


def test_a_base_that_is_not_here_says_so(tmp_path):
    with pytest.raises(InputError, match="not on this machine"):
        BaseModel.load("0" * 64, tmp_path)


def test_a_base_that_was_built_is_found_without_torch(base: BaseModel):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from skerry.config import ModelConfig, TaskConfig\n"
        "from skerry.device.local_model import build_local_model\n"
        "from skerry.device.tasks.digits import DigitsTask\n"
        "print(build_local_model(ModelConfig(), DigitsTask(TaskConfig(), ModelConfig())))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, timeout=180, capture_output=True, text=True)
    assert found.stdout.strip() == base.digest


def test_features_do_not_depend_on_the_other_examples(base: BaseModel, few):
    together = base.features(few)
    alone = np.concatenate([base.features(few[i : i + 1]) for i in range(len(few))])
    assert np.array_equal(together, alone)
    assert np.array_equal(base.features(few[::-1]), together[::-1])


def test_several_workers_give_the_same_numbers(base: BaseModel, few):
    path = base.file(8)
    assert np.array_equal(OnnxModel(path).run(few), OnnxModel(path, workers=3).run(few))


def test_features_are_half_whitened_principal_components_of_public_data(base: BaseModel, digits):
    """Uncorrelated, of length about one, and each spread as the root of what it spreads before whitening."""
    chosen = digits.transform(digits.public_data().x[::10])
    rows, pooled = base.features(chosen)[:, :-1], base.pooled(chosen)
    assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(0.95, abs=0.15)  # few are cut
    correlation = np.corrcoef(rows.T) - np.eye(rows.shape[1])
    assert np.sqrt((correlation**2).mean()) < 0.1  # not zero: a tenth of the examples that the base was made of
    standard = (pooled - pooled.mean(0)) / (pooled.std(0) + 1e-3)
    before = np.sqrt(np.linalg.eigvalsh(np.cov(standard.T))[::-1][: rows.shape[1]])
    ratio = rows.std(0) / np.sqrt(before)
    assert ratio[:40] / ratio[:40].mean() == pytest.approx(np.ones(40), abs=0.15)


def test_a_second_build_finds_the_first_and_another_size_does_not(base: BaseModel, digits, monkeypatch):
    monkeypatch.setattr(basebuild, "_build", lambda *_: pytest.fail("built again"))
    assert build_base(ModelConfig(), digits).digest == base.digest
    with pytest.raises(pytest.fail.Exception):
        build_base(ModelConfig(components=64), digits)


def test_a_failed_build_leaves_nothing(digits, tmp_path, monkeypatch):
    def fail(*_args, **_kw):
        raise RuntimeError("no")

    monkeypatch.setattr(basebuild, "_export", fail)
    with pytest.raises(RuntimeError):
        build_base(ModelConfig(), digits, store=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_deliverable_computes_what_base_and_head_do(base: BaseModel, few, tmp_path):
    head = base.initial + np.random.default_rng(0).normal(scale=0.1, size=base.initial.shape).astype(np.float32)
    files = assemble_model(base, head, tmp_path, {"run": "r"})
    scores = OnnxModel(files["model.int8.onnx"]).run(few)
    expected = base.features(few) @ head.reshape(10, -1).T
    assert np.abs(scores - expected).max() < 1e-3
    card = json.loads(files["card.json"].read_text())
    assert card["base"]["digest"] == base.digest
    assert "**run**: r" in files["card.md"].read_text()


def test_the_public_head_is_no_straw_man(base: BaseModel, digits):
    """scikit-learn's cross-validated logistic regression on the same public features does not do better."""
    from sklearn.linear_model import LogisticRegression

    public = digits.public_data()
    rows = base.features(digits.transform(public.x[::4]))
    ours = fit_public_head(rows, public.y[::4], 10)
    held_out = [(base.features(digits.transform(d.x)), d.y) for d in digits.evaluation().values()]
    x, y = np.concatenate([a for a, _ in held_out]), np.concatenate([b for _, b in held_out])
    theirs = max(LogisticRegression(C=c, max_iter=500).fit(rows, public.y[::4]).score(x, y) for c in (1.0, 10.0, 100.0))
    assert ((x @ ours.T).argmax(1) == y).mean() >= theirs - 0.02


def test_without_public_labels_the_head_is_zero():
    assert not fit_public_head(np.ones((4, 3), np.float32), np.full(4, -1), 2).any()


def test_a_file_that_is_not_onnx_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot read"):
        OnnxModel(tmp_path / "x.onnx")


def test_a_base_that_lacks_a_file_is_the_wrong_model(base: BaseModel, tmp_path: Path):
    copy = tmp_path / base.digest
    shutil.copytree(base.path, copy)
    (copy / "head.safetensors").unlink()
    with pytest.raises(RefusedError) as caught:
        BaseModel.load(base.digest, tmp_path)
    assert caught.value.reason == "wrong_model"
