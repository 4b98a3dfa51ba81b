"""A pilot measures what a plan's noise costs: less noise is better, and no private example is looked at."""

import math
from xml.etree import ElementTree as ET

import pytest

from skerry.cli.plan_plot import draw
from skerry.config import default_scenario
from skerry.device.tasks.digits import DigitsTask
from skerry.errors import InputError
from skerry.security.privacy.accounting import calibrate
from skerry.security.privacy.planning import Wish, options
from skerry.server.pilot import _Noise, _plan, paid_by, pilot

DEVICE = Wish(unit="device", devices=400, examples=20, epsilon=1.0, delta=1e-5, rounds=8, participation=0.25)
EXAMPLE = Wish(unit="example", devices=4, examples=40, epsilon=1.0, delta=1e-5, rounds=6, participation=1.0)


@pytest.mark.parametrize("wish", [DEVICE, EXAMPLE], ids=["device", "example"])
def test_less_noise_is_better_and_private_data_are_not_touched(wish, monkeypatch):
    def refuse(*_):
        raise AssertionError("a pilot looks at private data")

    monkeypatch.setattr(DigitsTask, "local_data", refuse)
    monkeypatch.setattr(DigitsTask, "evaluation", refuse)
    said: list[str] = []
    points = pilot(default_scenario(), wish, said.append)
    assert said
    free, *private = points
    assert (free.epsilon, free.clip) == (None, None)
    assert free.accuracy > 0.85
    assert all(math.isfinite(point.accuracy) and point.clip > 0 for point in private)
    wished = [point for point in private if point.epsilon == wish.epsilon]
    assert len({point.clip for point in wished}) == 5
    best = max(wished, key=lambda point: point.accuracy)
    curve = {point.epsilon: point.accuracy for point in private if point.clip == best.clip}
    assert sorted(curve) == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert curve[0.25] + 0.03 < curve[4.0] <= free.accuracy + 0.03
    picture = ET.fromstring(draw(wish, points))
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 9


@pytest.mark.parametrize("name", ["drawn", "in_turns"])
def test_the_pilots_noise_is_the_plans(name):
    wish = Wish(**(vars(DEVICE) | {"rounds": 40, "participation": 0.1}))
    way = next(option for option in options(wish) if option.name == name)
    noise = _Noise(way, wish, 2.0, 4000)
    drawn = [noise.next() for _ in range(40)]
    assert drawn[-1].std() == pytest.approx(2.0 * way.round_noise, rel=0.05)
    assert sum(drawn).std() == pytest.approx(2.0 * way.model_noise, rel=0.05)


def test_every_replay_of_free_training_is_a_step_of_the_plan_and_of_the_pilot():
    free = default_scenario(["training.adversarial=free"])
    wish = paid_by(free, EXAMPLE)
    (way,) = options(wish)
    plan = _plan(free, wish, way, 1.0, wish.cohort)
    assert plan.steps == wish.releases == 4 * EXAMPLE.steps
    assert way.noise_multiplier == pytest.approx(calibrate(wish.epsilon, wish.delta, wish.rounds * plan.steps))
    assert paid_by(default_scenario(), EXAMPLE) == EXAMPLE


def test_what_trains_more_than_a_head_has_no_pilot():
    with pytest.raises(InputError, match="trains a head"):
        pilot(default_scenario(["model.trainable=tail"]), DEVICE)
