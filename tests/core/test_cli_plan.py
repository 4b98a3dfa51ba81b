"""``skerry privacy plan``: every figure is qualified, and what cannot be promised is refused with its reason."""

import json

import pytest

PLAN = ("privacy", "plan", "--devices", "200", "--rounds", "20", "--epsilon", "4")


def test_a_plan_as_json_names_noise_guarantees_and_settings(skerry):
    result = skerry(*PLAN, "--unit", "device", "--participation", "0.1", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    names = [option["name"] for option in document["options"]]
    assert set(names) == {"drawn", "in_turns", "everybody", "fixed_size"}
    assert document["recommended"] == names[0]
    for option in document["options"]:
        assert option["noise_multiplier"] > 0
        for guarantee in option["guarantees"]:
            assert set(guarantee) == {"epsilon", "delta", "unit", "relation", "sampling", "accountant"}
    assert document["pilot"] == []
    assert document["clip"] is None


def test_a_plan_for_people_qualifies_every_epsilon(skerry):
    shown = " ".join(skerry(*PLAN, "--unit", "device", "--participation", "0.1").stdout.split())
    assert shown.count("at δ = 1e-05, per device, add/remove") == 8
    assert "replace-one" in shown
    assert "whoever knows who takes part" in shown
    assert 'privacy.unit = "device"' in shown
    example = " ".join(skerry(*PLAN, "--examples", "50").stdout.split())
    assert "per example, add/remove; no sampling" in example


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--participation", "1.5"], 2, "share of the devices"),
        (["--epsilon", "-2"], 2, "budget"),
        (["--delta", "0.02", "--examples", "100"], 3, "1/100"),
        (["--delta", "0.02", "--unit", "device"], 3, "1/200"),
        (["--delta", "2"], 2, "between 0 and 1"),
        (["--rounds", "0"], 2, "rounds"),
        (["--plot", "x.svg"], 2, "--pilot"),
        (["--pilot", "no-such-scenario"], 2, "no-such-scenario"),
    ],
)
def test_a_bad_wish_is_one_message_with_its_code(skerry, options, code, said):
    result = skerry(*PLAN, *options, "--json")
    assert result.exit_code == code
    error = json.loads(result.stdout)["error"]
    assert said in error["what"] + str(error["mend"]) + str(error["where"])


def test_a_plan_for_a_scenario_counts_the_steps_of_its_training(skerry, tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.server.pilot.pilot", lambda *_: [])  # what it measures is not asked here
    noises = []
    for kind in ("none", "free"):
        scenario = tmp_path / f"{kind}.toml"
        scenario.write_text(f'[training]\nadversarial = "{kind}"\n')
        document = json.loads(skerry(*PLAN, "--examples", "50", "--pilot", str(scenario), "--json").stdout)
        noises.append(document["options"][0]["noise_multiplier"])
    assert noises[1] > 1.9 * noises[0]  # √4 for four times the steps


def test_a_large_delta_passes_when_it_is_forced(skerry):
    assert skerry(*PLAN, "--delta", "0.02", "--force", "--json").exit_code == 0
