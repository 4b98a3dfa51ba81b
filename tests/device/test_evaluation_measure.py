"""Models are measured on the same held-out examples, corruptions and strangers; one that does not fit is refused."""

import dataclasses

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.evaluation import Plan, Scorer, evaluate_models
from skerry.device.tasks import evaluate
from skerry.device.tasks.digits import DigitsTask
from skerry.device.tasks.image_folder import ImageFolderTask
from skerry.device.tasks.watch import WatchTask
from skerry.errors import InputError
from skerry.records import Examples


@pytest.fixture(scope="module")
def small() -> DigitsTask:
    return DigitsTask(TaskConfig(channels=1, public="prepared"), ModelConfig(input_size=8))


@pytest.fixture(scope="module")
def templates(small):
    """A real, if simple, model: likeness to the mean public digit of each class."""
    public = small.public_data()
    x = small.transform(public.x).reshape(len(public), -1)
    means = np.stack([x[public.y == digit].mean(0) for digit in range(10)])

    def scores(batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), -1)
        return (-0.5 * ((flat[:, None] - means) ** 2).sum(2)).astype(np.float32)

    return scores


@pytest.fixture(scope="module")
def measured(small, templates):
    told = []
    scorers = [
        Scorer("templates", "float", templates),
        Scorer("the same, too sure", "int8", lambda x: 4 * templates(x)),
    ]
    plan = Plan(sample=60, strangers=small)
    found = evaluate_models(small, scorers, plan, lambda *step: told.append(step))
    return found, told


def test_quality_is_over_all_held_out_examples(small, templates, measured):
    found, _ = measured
    held_out = small.evaluation()
    everything = Examples.concatenate(list(held_out.values()))
    one = found.models[0]
    assert found.examples == len(everything)
    assert one.quality == evaluate(templates(small.transform(everything.x)), everything.y)
    assert one.quality.accuracy > 0.5
    for name, data in held_out.items():
        assert one.devices[name] == evaluate(templates(small.transform(data.x)), data.y).accuracy
    assert one.per_device.p10 <= one.per_device.p50 <= one.per_device.p90
    assert one.per_device.p50 == np.median(list(one.devices.values()))


def test_temperature_scaling_mends_what_only_size_spoils(measured):
    one, too_sure = measured[0].models
    assert too_sure.quality.accuracy == one.quality.accuracy
    assert too_sure.quality.ece > one.quality.ece
    assert too_sure.calibrated.ece < too_sure.quality.ece
    assert too_sure.calibrated.loss == pytest.approx(one.calibrated.loss, rel=1e-4)
    assert too_sure.calibrated.temperature == pytest.approx(4 * one.calibrated.temperature, rel=1e-3)
    assert one.calibrated.loss < one.quality.loss
    assert one.calibrated.fitted_on == "held-out"
    assert sum(b.count for b in one.calibrated.reliability) == sum(b.count for b in one.reliability)


def test_corruptions_lower_accuracy_from_that_of_the_same_sample(measured):
    one = measured[0].models[0]
    assert measured[0].sample == 60
    assert len(one.corruptions) == 10
    assert all(len(curve) == 5 for curve in one.corruptions.values())
    assert one.corrupted < one.clean
    assert one.corruptions["impulse_noise"][4] < one.corruptions["impulse_noise"][0]


def test_models_side_by_side_get_the_very_same_corrupted_inputs(measured):
    first, second = measured[0].models
    assert (first.kind, second.kind) == ("float", "int8")
    assert measured[0].agreement == 1
    assert first.corruptions == second.corruptions  # noise drawn anew would give other figures


def test_the_tasks_own_examples_are_no_strangers(measured):
    for separation in measured[0].models[0].strangers.values():
        assert separation.auroc == pytest.approx(0.5, abs=1e-9)


def test_strangers_are_told_apart(small, templates, tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    for device in ("a", "b"):
        for label in ("x", "y"):
            (tmp_path / device / label).mkdir(parents=True)
            for i in range(5):
                pixels = np.repeat(np.repeat(generator.integers(0, 256, (4, 4, 3), np.uint8), 8, 0), 8, 1)
                Image.fromarray(pixels).save(tmp_path / device / label / f"{i}.png")
    other = ImageFolderTask(TaskConfig(name="image-folder", root=tmp_path, holdout="b"), ModelConfig(input_size=16))
    plan = Plan(corruptions=False, sample=100, strangers=other)
    found = evaluate_models(small, [Scorer("templates", "float", templates)], plan)
    assert found.strangers == "image-folder"
    assert found.models[0].strangers["energy"].auroc > 0.9  # far from all templates: small energy
    assert found.models[0].corruptions == {}
    assert found.models[0].clean is None
    assert found.agreement is None


def test_progress_counts_every_example_that_is_scored(measured):
    told = measured[1]
    assert {total for _, _, total in told} == {told[-1][1]}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_the_public_temperature_needs_labels(small, templates):
    scorer = Scorer("templates", "float", templates)
    found = evaluate_models(small, [scorer], Plan(temperature="public", corruptions=False))
    assert found.models[0].calibrated.fitted_on == "public"
    watch = WatchTask(TaskConfig(name="watch"), ModelConfig())
    with pytest.raises(InputError, match="no labelled public") as caught:
        evaluate_models(watch, [scorer], Plan(temperature="public"))
    assert "held-out" in caught.value.mend


def test_windows_are_measured_as_pictures_are():
    task = WatchTask(TaskConfig(name="watch", holdout=0, stride=128), ModelConfig())
    weights = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)

    def scores(x: np.ndarray) -> np.ndarray:
        return np.c_[x.mean((2, 3)), x.std((2, 3))] @ weights

    found = evaluate_models(task, [Scorer("moments", "float", scores)], Plan(sample=40, strangers=task))
    assert "channel_dropout" in found.models[0].corruptions
    assert set(found.models[0].devices) == {"subject-01", "subject-02"}
    longer = WatchTask(TaskConfig(name="watch", window=200), ModelConfig())
    with pytest.raises(InputError, match="cannot be given"):
        evaluate_models(task, [Scorer("moments", "float", scores)], Plan(strangers=longer))


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (lambda x: np.zeros((len(x), 9), np.float32), "9,.* scores.*10 classes"),
        (lambda x: np.full((len(x), 10), np.nan, np.float32), "not finite"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(small, scores, said):
    with pytest.raises(InputError, match=said) as caught:
        evaluate_models(small, [Scorer("broken.onnx", "float", scores)], Plan(corruptions=False))
    assert caught.value.where == "broken.onnx"


def test_records_are_plain_values(measured):
    import json

    json.dumps([dataclasses.asdict(b) for b in measured[0].models[0].reliability], allow_nan=False)
