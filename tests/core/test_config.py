"""A scenario is validated once, at the edge, and a wrong key names its near match."""

from pathlib import Path

import pytest

from skerry.config import Scenario, default_scenario, load_scenario, parse_scenario, shipped_scenarios, to_toml
from skerry.errors import ScenarioError


def test_the_shipped_default_has_eleven_devices_worth_of_defence():
    scenario = default_scenario()
    assert scenario.privacy.epsilon <= 8.0
    assert scenario.privacy.delta == 1e-5
    assert scenario.rounds <= 30
    assert scenario.attack.devices == 2


def test_overrides_reach_nested_keys_and_keep_their_types():
    scenario = default_scenario(["attack.devices=0", "seed=3", "privacy.epsilon=3", "defence.aggregator=mean"])
    assert (scenario.attack.devices, scenario.seed, scenario.privacy.epsilon) == (0, 3, 3.0)
    assert scenario.defence.aggregator == "mean"


def test_a_resolved_scenario_reads_back_equal():
    scenario = default_scenario(["cohort.sampling=fixed", "cohort.size=4", "seed=7"])
    assert parse_scenario(to_toml(scenario)) == scenario


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("privacy.epsilonn=3", "privacy.epsilon"),
        ("epsilon=3", "privacy.epsilon"),
        ("learning_rat=3", "training.learning_rate"),
        ("round=3", "rounds"),
        ("defence.tolerance=1", "defence.tolerate"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_match(override, near):
    with pytest.raises(ScenarioError) as caught:
        default_scenario([override])
    assert near in (caught.value.mend or "")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("rounds=abc", "rounds"),
        ("rounds=0", "rounds"),
        ("privacy.epsilon=-1", "privacy.epsilon"),
        ("privacy.budget=-1", "privacy.budget"),
        ("privacy.budget=4", "must be at least epsilon"),
        ("privacy.min_separation=0", "privacy.min_separation"),
        ("privacy.max_participations=-1", "privacy.max_participations"),
        ("privacy.epsilon=inf", "privacy.epsilon"),
        ("privacy.delta=0.5", "privacy.delta"),
        ("cohort.sampling=poisson", "cohort.rate"),
        ("cohort.sampling=lottery", "cohort.sampling"),
        ("cohort.sampling=fixed", "cohort.size"),
        ("model.architecture=cnn", "per-example clipping"),
        ("privacy.engine=opacus", "closed form"),
        ("task.holdout=2.0", "task.holdout"),
        ("privacy=3", "privacy"),
        ("privacy.sampling_rate=0", "privacy.sampling_rate"),
        ("training.batch_size=16", "privacy.sampling_rate"),
        ("training.proximal=0.1", "training.proximal"),
        ("training.augment=shift", "computes features once"),
        ("training.gradient_clip=1", "training.gradient_clip"),
        ("model.personal_head=true", "nothing to share"),
        ("training.server_average=1", "training.server_average"),
    ],
)
def test_a_wrong_value_names_its_key(override, named):
    with pytest.raises(ScenarioError) as caught:
        default_scenario(["training.epochs=1", override])
    assert named in caught.value.what


def test_a_mean_of_networks_goes_with_no_personal_heads():
    with pytest.raises(ScenarioError, match="a mean of networks"):
        default_scenario(["model.trainable=tail", "model.personal_head=true", "training.server_average=0.5"])


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=1", "seed.deep=1"])
def test_a_malformed_override_is_explained(override):
    with pytest.raises(ScenarioError):
        default_scenario([override])


def test_every_shipped_scenario_is_found_by_its_name_and_takes_overrides():
    assert "digits" in shipped_scenarios()
    for name in shipped_scenarios():
        assert load_scenario(Path(name)).name == name
        assert load_scenario(Path(name), ["seed=7"]).seed == 7
    with pytest.raises(ScenarioError) as caught:
        load_scenario(Path("digit"))
    assert "digits" in caught.value.mend


def test_missing_and_broken_files_name_the_file(tmp_path: Path):
    with pytest.raises(ScenarioError, match="does not exist"):
        load_scenario(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("rounds = = 3")
    with pytest.raises(ScenarioError, match="not valid TOML"):
        load_scenario(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(broken)


def test_a_relative_root_is_relative_to_the_scenario(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[task]\nname = "image-folder"\nroot = "pictures"\n')
    assert load_scenario(path).task.root == tmp_path / "pictures"


def test_scenarios_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Scenario().seed = 3


@pytest.mark.parametrize("optimizer", ["fedadam", "fedyogi", "fedadagrad"])
def test_an_adaptive_optimizer_with_the_rate_of_averaging_is_refused_and_told_what_suits_it(optimizer: str):
    with pytest.raises(ScenarioError, match=r"server_learning_rate.* 0.01"):
        default_scenario([f"training.server_optimizer={optimizer}"])
    chosen = default_scenario([f"training.server_optimizer={optimizer}", "training.server_learning_rate=0.01"])
    assert chosen.training.server_optimizer == optimizer
    with pytest.raises(ScenarioError, match="server_adaptivity"):
        default_scenario(["training.server_adaptivity=1e20"])
