"""Tasks give each device its own data, and say which file is at fault."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks import evaluate, load_task, task_names
from skerry.device.tasks.digits import HELD_OUT, STARTS, DigitsTask
from skerry.device.tasks.image_folder import ImageFolderTask
from skerry.device.tasks.pictures import resize_matrix, to_network_input
from skerry.errors import MissingDependencyError, ScenarioError, TaskError
from skerry.records import Examples

MODEL = ModelConfig(input_size=32)


# --- digits


def test_fourteen_writers_hold_all_digits_once(digits: DigitsTask):
    from sklearn.datasets import load_digits

    holders = {name: digits.local_data(name) for name in digits.devices()} | dict(digits.evaluation())
    assert len(digits.devices()) == 11
    assert sorted(digits.evaluation()) == [f"writer-{w:02d}" for w in HELD_OUT]
    source = load_digits()
    x = np.concatenate([holders[name].x for name in sorted(holders)])
    y = np.concatenate([holders[name].y for name in sorted(holders)])
    assert np.array_equal(y, source.target)
    assert np.array_equal(x[..., 0], np.rint(source.images * 255 / 16))


def test_writers_start_where_the_repeated_sequence_starts():
    assert len(STARTS) == 14
    assert all(a < b for a, b in itertools.pairwise(STARTS))


def test_held_out_writers_never_train(digits: DigitsTask):
    with pytest.raises(TaskError):
        digits.local_data("writer-03")


@pytest.mark.parametrize(("way", "copies", "least"), [(None, 1, 0.6), ("shrunk", 1, 0.6), ("prepared", 2, 0.85)])
def test_public_digits_have_the_same_look(digits: DigitsTask, way: str | None, copies: int, least: float):
    public = DigitsTask(TaskConfig(public=way), ModelConfig()).public_data()
    assert public.x.shape == (5000 * copies, 8, 8, 1)
    assert np.bincount(public.y).tolist() == [500 * copies] * 10
    assert np.array_equal(public.y[:5000], public.y[-5000:])
    assert len(np.unique(public.x)) <= 17
    writers = Examples.concatenate([digits.local_data(name) for name in digits.devices()])
    known, asked = (part.x.reshape(len(part), -1).astype(np.float32) for part in (public, writers))
    nearest = ((known**2).sum(1)[None, :] - 2 * asked @ known.T).argmin(1)
    assert (public.y[nearest] == writers.y).mean() > least  # a 3 of one set looks like a 3 of the other


def test_another_way_to_make_public_digits_is_refused():
    with pytest.raises(ScenarioError, match="prepaired"):
        DigitsTask(TaskConfig(public="prepaired"), ModelConfig())


def test_each_device_has_its_own_identity(digits: DigitsTask):
    assert len({digits.identity(name) for name in digits.devices()}) == 11


def test_absent_data_packages_say_what_to_install(monkeypatch):
    from skerry.device.tasks import digits as module

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError) as caught:
        module._table("sklearn", "x", "scikit-learn")
    assert "pip install" in caught.value.mend


# --- transform


def test_resizing_keeps_a_constant_and_a_gradient():
    flat = np.full((1, 8, 8, 1), 200, np.uint8)
    assert np.allclose(to_network_input(flat, 64, mean=127, scale=128), (200 - 127) / 128)
    ramp = np.tile(np.arange(0, 256, 32, dtype=np.uint8), (8, 1))[None, ..., None]
    row = to_network_input(ramp, 64, mean=0, scale=1)[0, 0, 32]
    assert np.all(np.diff(row) >= -1e-3)


def test_resizing_agrees_with_pillow_in_both_directions():
    generator = np.random.default_rng(0)
    for source, target in ((8, 64), (100, 32)):
        picture = generator.integers(0, 256, (source, source), dtype=np.uint8)
        ours = to_network_input(picture[None, ..., None], target, mean=0, scale=1)[0, 0]
        theirs = np.asarray(
            Image.fromarray(picture.astype(np.float32)).resize((target, target), Image.Resampling.BILINEAR)
        )
        assert np.abs(ours - theirs).max() < 0.1


def test_a_picture_is_transformed_alone():
    """To the last bit: the privacy of what is trained on features rests on it."""
    x = np.random.default_rng(0).integers(0, 256, (33, 8, 8, 1), dtype=np.uint8)
    together = to_network_input(x, 64, mean=127, scale=128)
    alone = np.concatenate([to_network_input(x[i : i + 1], 64, mean=127, scale=128) for i in range(len(x))])
    assert np.array_equal(together, alone)


def test_pictures_are_given_grey_or_in_colour(digits: DigitsTask):
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    grey = to_network_input(x, 16, mean=0, scale=1, channels=1)
    theirs = [np.asarray(Image.fromarray(picture).convert("L")).mean() for picture in x]
    assert grey.shape == (2, 1, 16, 16)
    assert np.allclose(grey.mean((1, 2, 3)), theirs, atol=2)
    one = DigitsTask(TaskConfig(channels=1), MODEL)
    few = digits.public_data().x[:2]
    assert one.transform(few).shape == (2, *one.input_shape) == (2, 1, 32, 32)
    assert digits.transform(few).shape[1:] == digits.input_shape


def test_rows_of_a_resize_sum_to_one():
    assert np.allclose(resize_matrix(37, 12).sum(1), 1)


# --- image folder


def pictures(root: Path, layout: dict[str, dict[str, int]], suffix: str = ".png") -> Path:
    generator = np.random.default_rng(0)
    for device, classes in layout.items():
        for label, count in classes.items():
            folder = root / device / label
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}{suffix}")
    return root


def folder_task(root: Path, **config) -> ImageFolderTask:
    return ImageFolderTask(TaskConfig(name="image-folder", root=root, **config), MODEL)


def test_folders_become_devices_and_classes(tmp_path):
    root = pictures(tmp_path, {name: {"cat": 2, "dog": 1} for name in ("ann", "ben", "cem", "dee")}, ".jpg")
    task = folder_task(root, holdout=0.25)
    assert task.classes == ("cat", "dog")
    assert len(task.devices()) == 3
    assert len(task.evaluation()) == 1
    data = task.local_data(task.devices()[0])
    assert data.x.shape == (3, 32, 32, 3)
    assert data.y.tolist() == [0, 0, 1]
    assert task.transform(data.x).shape == (3, 3, 32, 32)


def test_a_named_folder_is_held_out_and_a_public_one_is_public(tmp_path):
    root = pictures(tmp_path, {name: {"cat": 1, "dog": 1} for name in ("ann", "ben", "shared")})
    task = folder_task(root, holdout="ben", public="shared")
    assert task.devices() == ("ann",)
    assert list(task.evaluation()) == ["ben"]
    assert sorted(task.public_data().y.tolist()) == [0, 1]


def test_five_folds_hold_each_device_out_once(tmp_path):
    names = [f"d{i}" for i in range(7)]
    root = pictures(tmp_path, {name: {"cat": 1, "dog": 1} for name in names})
    folds = [list(folder_task(root, holdout=fold).evaluation()) for fold in range(5)]
    assert sorted(itertools.chain(*folds)) == names
    assert all(folds)
    assert list(folder_task(root, holdout=["d5", "d1"]).evaluation()) == ["d1", "d5"]


def test_without_public_pictures_no_private_one_is_used(tmp_path):
    root = pictures(tmp_path, {name: {"cat": 1, "dog": 1} for name in ("ann", "ben")})
    public = folder_task(root, holdout="ben").public_data()
    assert set(public.y.tolist()) == {-1}
    again = folder_task(pictures(tmp_path / "other", {n: {"a": 1, "b": 1} for n in ("x", "y")}), holdout="y")
    assert np.array_equal(public.x, again.public_data().x)  # the same for everybody: it holds nobody's data


def test_a_corrupt_picture_is_named(tmp_path):
    root = pictures(tmp_path, {name: {"cat": 1, "dog": 1} for name in ("ann", "ben")})
    bad = root / "ann" / "cat" / "9.jpg"
    bad.write_bytes(b"\xff\xd8\xff not a picture")
    with pytest.raises(TaskError) as caught:
        folder_task(root, holdout="ben").local_data("ann")
    assert caught.value.where == str(bad)


@pytest.mark.parametrize(
    ("layout", "config", "said"),
    [
        ({"ann": {"cat": 1}, "ben": {"cat": 1}}, {}, "only one class"),
        ({"ann": {"cat": 1, "dog": 1}}, {}, "at least two devices"),
        ({"ann": {"cat": 1, "dog": 1}, "ben": {"cat": 0, "dog": 0}}, {}, "no pictures"),
        ({"ann": {"cat": 1, "dog": 1}, "ben": {"cat": 1}}, {"holdout": "zoe"}, "to hold out"),
        ({"ann": {"cat": 1, "dog": 1}, "ben": {"cat": 1}}, {"holdout": ["ann", "ben"]}, "left to train"),
        ({"ann": {"cat": 1, "dog": 1}, "ben": {"cat": 1}}, {"holdout": 3}, "cut in 5 folds"),
        ({"ann": {"cat": 1, "dog": 1}, "ben": {"cat": 1}}, {"public": "zoe"}, "no public folder"),
    ],
)
def test_unusable_folders_are_explained(tmp_path, layout, config, said):
    with pytest.raises(TaskError, match=said):
        folder_task(pictures(tmp_path, layout), **config)


def test_a_missing_root_is_explained(tmp_path):
    with pytest.raises(TaskError, match="does not exist"):
        folder_task(tmp_path / "none")
    with pytest.raises(TaskError, match="needs a folder"):
        ImageFolderTask(TaskConfig(name="image-folder"), MODEL)


# --- registry and metrics


def test_shipped_tasks_are_found_by_name():
    assert {"digits", "image-folder"} <= set(task_names())


def test_an_unknown_task_names_the_near_match():
    with pytest.raises(ScenarioError) as caught:
        load_task(TaskConfig(name="digit"), MODEL)
    assert "digits" in caught.value.mend


def test_a_class_of_ones_own_is_loaded_by_its_path():
    task = load_task(TaskConfig(name="skerry.device.tasks.digits:DigitsTask"), MODEL)
    assert task.name == "digits"
    with pytest.raises(ScenarioError, match="cannot be imported"):
        load_task(TaskConfig(name="no.such.module:Task"), MODEL)


def test_quality_of_known_scores():
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32))
    quality = evaluate(logits, np.array([0, 1, 1]))
    assert quality.accuracy == pytest.approx(2 / 3)
    assert quality.loss == pytest.approx(-np.log([0.8, 0.4, 0.7]).mean(), rel=1e-5)
    assert quality.ece == pytest.approx((0.2 + 0.6 + 0.3) / 3, rel=1e-4)
