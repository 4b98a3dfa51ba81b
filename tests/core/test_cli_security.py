"""``skerry security attack``: a grid file in, the worst case first out."""

import json

GRID = """
aggregators = ["mean", "nnm+trimmed_mean"]
attacks = ["none", "gaussian"]
honest = 5
hostile = 1
steps = 10
"""


def test_a_grid_is_run_shown_and_written(skerry, tmp_path) -> None:
    grid, page = tmp_path / "grid.toml", tmp_path / "grid.html"
    grid.write_text(GRID)
    shown = skerry("security", "attack", str(grid), "--html", str(page))
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.index("gaussian") < shown.stdout.index("none")
    assert "nnm+trimmed_mean" in shown.stdout
    assert "nnm+trimmed_mean" in page.read_text(encoding="utf-8")
    document = json.loads(skerry("security", "attack", str(grid), "--json").stdout)
    accuracies = [cell["accuracy"] for cell in document["cells"]]
    assert len(accuracies) == 4
    assert accuracies == sorted(accuracies)
    assert document["grid"]["steps"] == 10


def test_an_unknown_attack_is_bad_input_and_nothing_is_written(skerry, tmp_path) -> None:
    grid, page = tmp_path / "grid.toml", tmp_path / "grid.html"
    grid.write_text('attacks = ["alei"]')
    done = skerry("security", "attack", str(grid), "--html", str(page))
    assert done.exit_code == 2
    assert "alie" in done.stderr
    assert not page.exists()
