"""A plan's figures are those that a run with its settings would have."""

import math

import pytest

from skerry.config import default_scenario
from skerry.errors import InputError, RefusedError
from skerry.security.adversarial import replays
from skerry.security.privacy import FixedSizeEvent, GaussianEvent, epsilon_from_rdp, epsilon_pld, rdp, rdp_fixed_size
from skerry.security.privacy.planning import Wish, options
from skerry.server.central import CentralNoise, run_event
from skerry.server.prepare import noise_for

DEVICE = Wish(unit="device", devices=500, examples=50, epsilon=4.0, delta=1e-5, rounds=40, participation=0.1)
EXAMPLE = Wish(unit="example", devices=12, examples=120, epsilon=8.0, delta=1e-5, rounds=20, participation=1.0)
STEPS = Wish(**(vars(EXAMPLE) | {"steps": 3}))
REPLAYED = Wish(**(vars(STEPS) | {"replays": replays("free")}))


def scenario_of(option, *more):
    quoted = {key: f'"{value}"' if isinstance(value, str) else value for key, value in option.settings.items()}
    others = ["attack.devices=0"]
    if option.settings["privacy.unit"] == "device":
        others.append('defence.screen=["finite", "shape", "fresh"]')
    return default_scenario([*(f"{key}={value}" for key, value in quoted.items()), *others, *more])


@pytest.mark.parametrize("wish", [DEVICE, EXAMPLE, STEPS, REPLAYED], ids=["device", "example", "steps", "replayed"])
def test_a_run_with_the_settings_has_the_noise_and_the_epsilon_of_the_plan(wish):
    for option in options(wish):
        if not option.settings:
            continue
        scenario = scenario_of(option, *(["training.adversarial=free"] if wish is REPLAYED else []))
        assert noise_for(scenario) == option.noise_multiplier
        first = option.guarantees[0]
        assert (first.accountant, first.relation, first.unit, first.delta) == ("RDP", "add/remove", wish.unit, 1e-5)
        assert 0.99 * wish.epsilon < first.epsilon <= wish.epsilon
        if wish.unit == "device":
            whole = run_event(scenario, option.noise_multiplier)
            assert first.epsilon == pytest.approx(epsilon_from_rdp(rdp(whole), 1e-5)[0])
            assert option.guarantees[1].epsilon == pytest.approx(epsilon_pld([whole], 1e-5))


@pytest.mark.parametrize("name", ["drawn", "everybody", "in_turns"])
def test_the_noise_in_rounds_and_model_is_what_a_run_releases(name):
    import numpy as np

    from skerry.security.privacy import seeded_stream

    option = next(option for option in options(DEVICE) if option.name == name)
    scenario, size = scenario_of(option), 3000
    made = CentralNoise(scenario, option.noise_multiplier, size)
    running = np.zeros(size)
    for number in range(DEVICE.rounds):
        step = made.release(np.empty((0, size), np.float32), seeded_stream(1, name, number)).step
        running += step
    assert step.std() / scenario.privacy.clip == pytest.approx(option.round_noise, rel=0.06)
    assert running.std() / scenario.privacy.clip == pytest.approx(option.model_noise, rel=0.06)


def test_what_is_known_of_the_cohort_is_said_beside_what_is_assumed():
    drawn = next(option for option in options(DEVICE) if option.name == "drawn")
    assert len(drawn.guarantees) == 4
    watched = drawn.guarantees[2]
    assert watched.epsilon == pytest.approx(
        epsilon_from_rdp(rdp(GaussianEvent(drawn.noise_multiplier, 1.0, 40)), 1e-5)[0]
    )
    assert watched.epsilon > 5 * drawn.guarantees[0].epsilon
    assert "nobody knows" in drawn.guarantees[0].sampling
    assert "carrier" in watched.sampling


def test_a_fixed_cohort_is_compared_under_exchange_with_half_the_noise_multiplier():
    fixed = options(DEVICE)[-1]
    assert fixed.name == "fixed_size"
    assert not fixed.settings
    assert fixed.guarantees[0].relation == "replace-one"
    event = FixedSizeEvent(fixed.noise_multiplier / 2, 500, 50, 40)
    assert fixed.guarantees[0].epsilon == pytest.approx(epsilon_from_rdp(rdp_fixed_size(event), 1e-5)[0])


@pytest.mark.parametrize("participation", [0.1, 0.3, 0.7])
def test_what_is_recommended_asks_no_more_devices_than_was_wished(participation):
    wish = Wish(**(vars(DEVICE) | {"participation": participation, "rounds": 10}))
    first, *rest = options(wish)
    assert first.cohort <= wish.cohort
    assert rest[0].cohort <= wish.cohort
    assert first.model_noise == min(option.model_noise for option in [*rest[:1], first])
    assert [option.name for option in rest[-2:]] == ["everybody", "fixed_size"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"participation": 1.5}, InputError, "share of the devices"),
        ({"participation": 0.0}, InputError, "share of the devices"),
        ({"participation": 0.0001}, InputError, "less than one a round"),
        ({"epsilon": -1.0}, InputError, "budget"),
        ({"epsilon": math.inf}, InputError, "budget"),
        ({"delta": -1e-5}, InputError, "δ"),
        ({"delta": 1 / 500}, RefusedError, "1/500"),
        ({"rounds": 0}, InputError, "rounds"),
        ({"steps": 0}, InputError, "steps"),
        ({"devices": 0}, InputError, "devices"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(change, error, said):
    with pytest.raises(error, match=said):
        Wish(**(vars(DEVICE) | change))


def test_a_large_delta_can_be_forced():
    assert options(Wish(**(vars(EXAMPLE) | {"delta": 0.01, "examples": 100, "force": True})))
