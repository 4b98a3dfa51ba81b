"""What the shipped scenario `watch` promises: exercises of people whom it never saw, learnt under ε ≤ 8."""

from pathlib import Path

from skerry.config import load_scenario
from skerry.server.launch import launch


def test_a_head_over_untrained_convolutions_names_exercises_of_strangers(tmp_path):
    """Guessing gives a seventh. Over all blocks of the same untrained network it would be 0.69."""
    folder = launch(load_scenario(Path("watch"), ["task.holdout=2"]), engine="inprocess", parent=tmp_path)
    assert folder.status["state"] == "complete"
    privacy, quality = folder.result["privacy"], folder.result["quality"]
    assert privacy["epsilon_pld"] <= privacy["epsilon_rdp"] <= 8.0
    assert quality["base"]["accuracy"] < 0.25  # nothing is known before: no public data
    assert quality["final"]["accuracy"] > 0.75
