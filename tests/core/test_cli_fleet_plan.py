"""``skerry fleet plan``: how long a round would take, who is left out, and what it costs."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

SMALL = ("fleet", "plan", "--phones", "600", "--rounds", "6", "--goal", "20", "--buffer", "5")


def test_rounds_and_a_buffer_are_told_side_by_side(skerry, tmp_path: Path) -> None:
    plot = tmp_path / "plan.svg"
    document = json.loads(skerry(*SMALL, "--plot", plot, "--json").stdout)
    plain, more, buffer = document["policies"]
    assert [one["name"] for one in document["policies"]] == ["rounds", "rounds +30 %", "buffer 5 of 26"]
    for one in (plain, more, buffer):
        assert one["answers"] >= 120
        assert one["step_s"] == sorted(one["step_s"])
        assert abs(sum(row["of_answers"] for row in one["classes"]) - 1) < 1e-9
        assert one["energy_wh"] > 0
        assert one["megabytes_down"] > 0
    assert plain["step_s"][0] > more["step_s"][0] > buffer["step_s"][0]
    assert plain["staleness"][2] == 0 < buffer["staleness"][2]
    ET.parse(plot)
    shown = skerry(*SMALL).stdout
    for said in ("step p50", "flagship", "left out", "J/answer"):
        assert said in shown


def test_the_same_seed_says_the_same_and_another_another(skerry) -> None:
    one, two, other = (skerry(*SMALL, "--seed", seed, "--json").stdout for seed in ("1", "1", "2"))
    assert one == two != other


def test_it_can_train(skerry, tmp_path: Path) -> None:
    plot = tmp_path / "plan.svg"
    document = json.loads(skerry(*SMALL, "--train", "synthetic", "--plot", plot, "--json").stdout)
    for one in document["policies"]:
        assert one["learning"][-1]["accuracy"] > one["learning"][0]["accuracy"]
        assert one["learning"][-1]["seconds"] <= one["hours"] * 3600 + 1e-6
    assert "held-out accuracy" in plot.read_text()


def test_what_cannot_be_is_one_message(skerry, tmp_path: Path) -> None:
    (tmp_path / "number.toml").write_text("name = 5\n[[classes]]\nname = 'a'\nshare = 1.0\ngflops = 1.0\n")
    (tmp_path / "empty.toml").write_text("[[classes]]\nname = ''\nshare = 1.0\ngflops = 1.0\n")
    for words, said in (
        (("--start", "nan"), "no finite number"),
        (("--down-mb", "inf"), "no finite number"),
        (("--up-mb", "nan"), "no finite number"),
        (("--example-gflop", "inf"), "no finite number"),
        (("--deadline", "inf"), "no finite number"),
        (("--over-selection", "nan"), "no finite number"),
        (("--profile", tmp_path / "number.toml"), "have names, got 5"),
        (("--profile", tmp_path / "empty.toml"), "have names, got"),
        (("--goal", "600"), "not ready together"),
        (("--buffer", "30", "--concurrency", "20"), "size ≤ concurrency"),
        (("--profile", tmp_path / "none.toml"), "cannot be read"),
        (("--deadline", "4"), "answers are there"),
    ):
        result = skerry(*SMALL, *words, "--json")
        assert result.exit_code == 2
        assert said in json.loads(result.stdout)["error"]["what"]
