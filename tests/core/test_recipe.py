"""A recipe is validated once, at the edge; a wrong key, kind or order is told before anything is trained."""

from pathlib import Path

import pytest

from skerry.config.reading import read_toml
from skerry.config.recipe import DistilStep, Recipe, load_recipe, recipe_to_toml, shipped_recipes
from skerry.errors import InputError, ScenarioError

TEXT = """
[task]
root = "data"
[model]
architecture = "ds_cnn"
[[steps]]
kind = "train"
[[steps]]
kind = "distil"
teacher = "big.safetensors"
[[steps]]
kind = "int8"
"""


def test_every_shipped_recipe_is_valid_and_says_what_it_is():
    assert set(shipped_recipes()) >= {"digits-tiny", "fashion-small"}
    for name in shipped_recipes():
        assert load_recipe(name).name == name


def test_a_resolved_recipe_reads_back_equal():
    recipe = load_recipe("fashion-small", ["steps.1.keep_macs=0.4", "budget.size_kb=300", "model.width=0.35"])
    assert (recipe.steps[1].keep_macs, recipe.budget.size_kb, recipe.model.width) == (0.4, 300.0, 0.35)
    assert read_toml(Recipe, recipe_to_toml(recipe), where="again", doc="") == recipe


def test_paths_are_relative_to_the_recipes_folder(tmp_path: Path):
    (tmp_path / "mine.toml").write_text(TEXT)
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert recipe.task.root == tmp_path / "data"
    distil = recipe.steps[1]
    assert isinstance(distil, DistilStep)
    assert distil.teacher == tmp_path / "big.safetensors"


@pytest.mark.parametrize(
    ("override", "what", "mend"),
    [
        ("steps.0.epoch=3", "unknown key 'steps.0.epoch'", "'steps.0.epochs'"),
        ("steps.1.keep_mac=0.4", "unknown key 'steps.1.keep_mac'", "'steps.1.keep_macs'"),
        ("steps.1.epochs=3", "unknown key 'steps.1.epochs'", ""),
        ('steps.1.kind="prun"', "no kind 'prun'", "'prune'"),
        ("budget.size=3", "unknown key 'budget.size'", "'budget.size_kb'"),
        ("stps=3", "unknown key 'stps'", "'steps'"),
        ("task.chanels=1", "unknown key 'task.chanels'", "'task.channels'"),
        ("steps.0.epochs=0", "steps.0.epochs", ""),
        ("steps.1.keep_macs=1", "steps.1.keep_macs", ""),
        ("steps.2.weight=0", "steps.2.weight", ""),
        ("steps.9.epochs=1", "no entry '9'", ""),
        ("steps.0=1", "whole entry", ""),
        ("steps=[]", "steps", ""),
        ('steps.0.kind="prune"', "steps.0", ""),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, what: str, mend: str):
    with pytest.raises(ScenarioError) as caught:
        load_recipe("digits-tiny", [override])
    assert what in caught.value.what
    assert mend in (caught.value.mend or "")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        (["prune"], 'must be "train"'),
        (["train", "int8", "prune"], '"prune" changes the weights'),
        (["train", "int8", "distil"], '"distil" changes the weights'),
        (["train", "int8", "int8"], '"int8" changes the weights'),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(steps: list[str], word: str):
    text = "".join(f'[[steps]]\nkind = "{kind}"\n' for kind in steps)
    with pytest.raises(ScenarioError) as caught:
        read_toml(Recipe, text, where="test", doc="")
    assert word in caught.value.what


def test_a_missing_or_broken_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="no such recipe") as caught:
        load_recipe(str(tmp_path / "none.toml"))
    assert "fashion-small" in caught.value.mend
    (tmp_path / "bad.toml").write_text("steps = [")
    with pytest.raises(ScenarioError, match="not valid TOML"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(str(tmp_path / "bad.toml"))
