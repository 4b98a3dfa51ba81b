"""``skerry model compress``, as a user meets it."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.model.label_places import Box, place_labels
from skerry.cli.model.tradeoff_plot import Point, draw_tradeoff

RECIPE = """
name = "waves"
[task]
name = "waves_task:WavesTask"
[model]
architecture = "ds_cnn"
input_size = 32
[[steps]]
kind = "train"
epochs = 2
batch_size = 50
[[steps]]
kind = "prune"
[[steps]]
kind = "int8"
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurried: None) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "device"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waves.toml").write_text(RECIPE)
    return tmp_path / "waves.toml"


def test_without_a_recipe_it_lists_the_shipped_ones(skerry):
    assert "fashion-small" in skerry("model", "compress").stdout
    assert "digits-tiny" in json.loads(skerry("model", "compress", "--json").stdout)["recipes"]


def test_a_recipe_becomes_files_a_table_and_a_plot(skerry, recipe: Path):
    document = json.loads(skerry("model", "compress", recipe, "--json").stdout)
    out = Path("compressed/waves")
    assert document["folder"] == str(out)
    assert [step["kind"] for step in document["steps"]] == ["train", "prune", "int8"]
    assert document["final"] == document["steps"][-1]["figures"]
    assert json.loads((out / "summary.json").read_text()) == {k: v for k, v in document.items() if k != "folder"}
    assert sorted(p.name for p in (out / "model").iterdir()) == sorted(document["files"])

    shown = skerry("model", "compress", recipe)
    assert shown.exit_code == 0
    final = document["final"]
    assert f"{100 * final['accuracy']:.1f} %" in shown.stdout
    assert f"{document['uncompressed']['macs'] / 1e6:.2f} M" in shown.stdout
    assert shown.stdout.count("found") == 3
    plot = ET.fromstring((out / "tradeoff.svg").read_text())
    assert len(plot.findall(".//{*}circle")) == 3


def test_a_budget_that_is_not_kept_is_a_failure_that_says_what_is_closest(skerry, recipe: Path):
    broken = skerry("model", "compress", recipe, "--set", "budget.size_kb=1", "--json")
    assert broken.exit_code == 1
    document = json.loads(broken.stdout)
    assert "1.0 kB were allowed" in document["broken"][0]
    assert "closest" in document["error"]["mend"]
    assert document["steps"][0]["kind"] == "train"
    kept = skerry("model", "compress", recipe, "--set", "budget.size_kb=100000", "--json")
    assert kept.exit_code == 0
    assert json.loads(kept.stdout)["broken"] == []


def test_a_wrong_recipe_is_bad_input_and_leaves_nothing(skerry, recipe: Path):
    wrong = skerry("model", "compress", recipe, "--set", "steps.0.epoch=3")
    assert wrong.exit_code == 2
    assert "steps.0.epochs" in wrong.stderr
    assert skerry("model", "compress", "fashion-smal").exit_code == 2
    assert not Path("compressed").exists()


def test_a_plot_shows_every_point_once_the_limit_and_no_markup_from_names():
    points = [Point(100.0, 0.8, "a <b>", "tip & more", "other"), Point(50.0, 0.9, "best", "best", "chosen")]
    root = ET.fromstring(
        draw_tradeoff("title", "note", points, x_name="bytes", tick=lambda x: f"{x:g}", way=[1, 0], limit=80.0)
    )
    circles = root.findall(".//{*}circle")
    assert [c.get("class") for c in circles] == ["other", "chosen"]
    (other, chosen) = ((float(c.get("cx")), float(c.get("cy"))) for c in circles)
    assert chosen[0] < other[0]
    assert chosen[1] < other[1]
    texts = [t.text for t in root.findall(".//{*}text")]
    assert "a <b>" in texts
    assert "limit 80" in texts


def test_only_kinds_that_there_are_stand_in_a_legend():
    points = [Point(1.0, 0.8, "a", ""), Point(2.0, 0.9, "b", "", "chosen")]
    said = {"chosen": "the one", "front": "good", "other": "worse"}
    root = ET.fromstring(draw_tradeoff("t", "n", points, x_name="x", tick=str, legend=said))
    texts = [t.text for t in root.findall(".//{*}text")]
    assert ("the one" in texts, "good" in texts, "worse" in texts) == (True, True, False)


def test_costs_that_differ_little_are_spread_over_the_plot():
    drawn = draw_tradeoff("t", "n", [Point(x, x, "", "") for x in (0.90, 0.91, 0.92)], x_name="x", tick=str)
    xs = [float(c.get("cx", "0")) for c in ET.fromstring(drawn).findall(".//{*}circle")]
    assert xs[-1] - xs[0] > 300


@given(st.lists(st.tuples(st.floats(100, 700), st.floats(120, 440)), min_size=1, max_size=6))
def test_labels_stay_in_the_plot_and_off_each_other(dots):
    plot = Box(80, 104, 892, 460)
    labels = place_labels(["w0.5-28px-keep70-int8"] * len(dots), dots, [], [(dots[0], dots[-1])], plot)
    for i, label in enumerate(labels):
        assert plot.holds(label.box)
        assert not any(label.box.meets(other.box) for other in labels[:i])


def test_a_label_far_from_its_dot_is_joined_to_it():
    crowd = [(400.0, 300.0)] * 6
    labels = place_labels(["a name"] * 6, crowd, [], [], Box(80, 104, 892, 460))
    assert any(label.far for label in labels)
    drawn = draw_tradeoff("t", "n", [Point(1.0, 0.5, f"n{i}", "") for i in range(6)], x_name="x", tick=str)
    leaders = [p for p in ET.fromstring(drawn).findall(".//{*}path") if p.get("class") == "leader"]
    assert leaders
