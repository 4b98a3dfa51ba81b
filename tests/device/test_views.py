"""A view of an example is the example's own: made from it alone, by the device, through the frozen base once."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from skerry.clock import system_clock
from skerry.config import ModelConfig, Scenario, TaskConfig, default_scenario
from skerry.device.canaries import CanaryPlan
from skerry.device.state import DeviceHome
from skerry.device.tasks.digits import DigitsTask
from skerry.device.tasks.interpolation import bilinear
from skerry.device.tasks.pictures import MOVES
from skerry.device.tasks.views import Moves, own_numbers
from skerry.device.worker import Worker
from skerry.errors import ScenarioError
from skerry.runfolder import RunFolder
from skerry.server.prepare import prepare


def pictures(count: int = 6, size: int = 16, channels: int = 1, seed: int = 0):
    return np.random.default_rng(seed).uniform(0, 255, (count, channels, size, size)).astype(np.float32)


def test_no_bit_of_a_view_depends_on_the_other_examples_or_on_its_place(digits: DigitsTask):
    x = digits.public_data().x[:40]
    together = digits.view(x, 3)
    assert together[::-1].tobytes() == digits.view(x[::-1], 3).tobytes()
    for i in (0, 7, 39):
        assert together[i].tobytes() == digits.view(x[i : i + 1], 3).tobytes()


def test_views_differ_from_each_other_from_example_to_example_and_never_from_one_day_to_the_next(digits: DigitsTask):
    x = digits.public_data().x[:5]
    views = [digits.view(x, number) for number in range(5)]
    assert np.array_equal(views[0], digits.transform(x))
    for one in range(5):
        assert np.array_equal(views[one], DigitsTask(TaskConfig(), ModelConfig()).view(x, one))
        for other in range(one):
            assert (np.abs(views[one] - views[other]).max((1, 2, 3)) > 0.05).all()
    numbers = own_numbers(digits.public_data().x[:1000], 1)
    assert len(np.unique(numbers[:, 0])) > 990  # some pictures are there twice
    assert numbers.mean(0) == pytest.approx(np.zeros(4), abs=0.06)
    assert (np.abs(numbers).max(0) > 0.99).all()


def test_moves_are_those_that_were_asked_for():
    x = pictures(channels=3)
    still, numbers = Moves(0, 0, 0), np.random.default_rng(1).uniform(-1, 1, (6, 4))
    assert np.array_equal(still.apply(x, numbers), x)
    down_two = Moves(1 / 8, 9, 0.5).apply(x, np.tile([-1.0, 0, 0, 0], (6, 1)))  # two rows of sixteen
    assert down_two[:, :, 2:] == pytest.approx(x[:, :, :-2], abs=1e-3)
    assert down_two[:, :, :2] == pytest.approx(x[:, :, :1].repeat(2, 2), abs=1e-3)  # the border is repeated
    quarter = Moves(0, 90, 0).apply(x, np.tile([0.0, 0, 1, 0], (6, 1)))
    assert quarter == pytest.approx(np.rot90(x, -1, (2, 3)), abs=1e-2)
    halved = Moves(0, 0, 1).apply(x, np.tile([0.0, 0, 0, 1], (6, 1)))  # every second pixel, about the middle
    assert halved[:, :, 4:12, 4:12] == pytest.approx((x[:, :, ::2, ::2] + x[:, :, 1::2, ::2]
        + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4, abs=200)  # fmt: skip
    assert 0 < MOVES.shift <= 0.25


def test_reading_between_pixels_is_that_of_scipy():
    x, random = pictures(4, 9, 2), np.random.default_rng(2)
    y, across = (random.uniform(-3, 12, (4, 5, 7)).astype(np.float32) for _ in range(2))
    found = bilinear(x, y, across)
    for i in range(4):
        for channel in range(2):
            plane = np.pad(x[i, channel], 6)  # scipy has no edge to round here
            expected = ndimage.map_coordinates(plane, [y[i] + 6, across[i] + 6], order=1)
            assert found[i, channel] == pytest.approx(expected, abs=2e-2)


@pytest.fixture
def worker(prepared_run: RunFolder):
    """A worker that has computed nothing yet, a device's name, task and model."""
    scenario, one = prepared_run.scenario, Worker()
    task = one.task(scenario.task, scenario.model)
    digest = json.loads((prepared_run.path / "model" / "base.json").read_text())["digest"]
    home = DeviceHome.load(prepared_run.path / "fleet" / "writer-00")
    return one, home, task, one.model(scenario.model, digest, task)


def test_each_view_goes_through_the_base_once_and_the_example_itself_is_the_first(worker, monkeypatch):
    one, home, task, model = worker
    device = home.device
    asked: list[int] = []
    real = model.prepare_view
    monkeypatch.setattr(model, "prepare_view", lambda x, number: (asked.extend([number] * len(x)), real(x, number))[1])
    plain, y = one.local_inputs(device, task, model)
    assert one.training_inputs(home, task, model, 1)[0] is plain
    three, labels = one.training_inputs(home, task, model, 3)
    assert three.shape == (len(y), 3, plain.shape[1])
    assert np.array_equal(three[:, 0], plain)
    assert np.array_equal(three[:, 2], model._base.features(task.view(task.local_data(device).x, 2)))
    assert labels is y
    four = one.training_inputs(home, task, model, 4)[0]
    assert np.array_equal(four[:, :3], three)
    assert np.array_equal(one.training_inputs(home, task, model, 2)[0], three[:, :2])
    assert asked == np.repeat([1, 2, 3], len(y)).tolist()
    assert one.local_inputs(device, task, model)[0] is plain  # what is evaluated is the example itself


def test_the_views_of_a_canary_are_all_itself(worker):
    one, home, task, model = worker
    audited = dataclasses.replace(home, canaries=CanaryPlan("mislabelled", 5, 1.0, "101"))
    plain, y = one.training_inputs(audited, task, model, 1)
    viewed, labels = one.training_inputs(audited, task, model, 3)
    assert len(y) == len(task.local_data(home.device)) + 2
    assert np.array_equal(labels, y)
    assert np.array_equal(viewed[:, 0], plain)
    assert np.array_equal(viewed[-2:], np.repeat(plain[-2:, None], 3, axis=1))
    assert not np.array_equal(viewed[0, 1], plain[0])


def test_a_scenario_whose_examples_have_no_views_is_refused_before_anything_is_built(tmp_path):
    scenario = default_scenario(["training.views=2", "task.name=watch", "model.architecture=ds_cnn", "model.blocks=0"])
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    with pytest.raises(ScenarioError) as caught:
        prepare(folder, system_clock, Worker())
    assert caught.value.where == "training.views"
    assert "views = 1" in caught.value.mend
    assert not (folder.path / "fleet").exists()


@pytest.mark.parametrize("override", ["model.trainable=tail", "model.trainable=lora"])
def test_views_of_another_mode_than_the_head_are_refused(override: str):
    with pytest.raises(ScenarioError, match=r"training\.views"):
        default_scenario(["training.views=2", override])
    assert isinstance(default_scenario(["training.views=16"]), Scenario)
    with pytest.raises(ScenarioError, match=r"training\.views"):
        default_scenario(["training.views=17"])
