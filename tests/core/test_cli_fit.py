"""``skerry model fit``, as a user meets it."""

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from skerry.cli.model.tradeoff_plot import Point
from skerry.cli.model.tradeoff_text import tradeoff_lines
from skerry.device.bench.quiet import Timing
from skerry.device.compression import figures, fit

SEARCH = [
    "model", "fit", "--task", "waves_task:WavesTask", "--architecture", "ds_cnn", "--epochs", "2", "--size-mb", "0.06",
    "--set", "widths=[0.5,1.0]", "--set", "batch_size=50", "--set", "candidates=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurried: None) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "device"))
    monkeypatch.chdir(tmp_path)


def test_a_search_becomes_a_network_a_table_and_a_plot(skerry):
    document = json.loads(skerry(*SEARCH, "--latency-ms", "1000", "--json").stdout)
    out = Path("fitted/wavestask")
    assert document["folder"] == str(out)
    assert Path(document["file"]).stat().st_size == document["final"]["final"]["bytes"] <= 60_000
    assert json.loads((out / "fit.json").read_text()).items() <= document.items()
    assert len(ET.fromstring((out / "front.svg").read_text()).findall(".//{*}circle")) == len(document["networks"]) == 2

    shown = skerry(*SEARCH, "--latency-ms", "1000")
    assert shown.exit_code == 0
    assert "of 1000 ms, at most " in shown.stdout
    assert "on held-out examples" in shown.stdout
    assert "●" in shown.stdout


@pytest.mark.parametrize(
    ("quiet", "told"), [(True, "75 blocks of calls, 31 disturbed ones thrown away"), (False, "was never quiet")]
)
def test_what_was_thrown_away_and_a_machine_that_was_never_quiet_are_told(skerry, monkeypatch, quiet, told):
    def timed(*_: object, **__: object) -> Timing:
        return Timing(median_ms=5.0, upper_ms=6.0, least_ms=5.0, blocks=25, discarded=0, quiet=True)

    def slow(*_: object, **__: object) -> Timing:
        return Timing(median_ms=5.0, upper_ms=7.0, least_ms=5.0, blocks=75, discarded=31, quiet=quiet)

    monkeypatch.setattr(figures, "time_file", timed)
    monkeypatch.setattr(fit, "slowest", slow)
    shown = skerry(*SEARCH, "--latency-ms", "1000", "--set", "candidates=1")
    said = " ".join(shown.stdout.split())
    assert "5.000 ms of 1000 ms, at most 7.000 ms" in said
    assert told in said
    document = json.loads(skerry(*SEARCH, "--latency-ms", "1000", "--set", "candidates=1", "--json").stdout)
    assert document["timing"] == asdict(slow())


def test_what_cannot_be_found_is_bad_input_with_the_closest(skerry):
    nothing = skerry(*SEARCH, "--size-mb", "0.001", "--json")
    assert nothing.exit_code == 2
    error = json.loads(nothing.stdout)["error"]
    assert "the closest, width 0.5" in error["what"]
    assert "widths" in error["mend"]
    assert skerry("model", "fit", "--task", "waves_task:WavesTask").exit_code == 2
    near = skerry(*SEARCH, "--set", "width=[1.0]")
    assert near.exit_code == 2
    assert "'widths'" in near.stderr


def test_ctrl_c_shows_what_is_known_so_far_and_says_how_to_go_on(skerry, monkeypatch: pytest.MonkeyPatch):
    from skerry.cli.model.fit_progress import SearchView

    def stop(view, number, of, epochs, alive):
        if number == of:
            raise KeyboardInterrupt

    monkeypatch.setattr(SearchView, "rung", stop)
    stopped = skerry(*SEARCH)
    assert stopped.exit_code == 1
    assert "after 2 networks" in stopped.stderr
    assert "go on" in stopped.stderr
    assert "Pareto front" in stopped.stdout
    assert (Path("fitted/wavestask") / "front.svg").is_file()


def test_the_plot_of_letters_puts_the_best_on_top_and_the_dearest_right():
    points = [Point(1.0, 0.9, "", "", "chosen"), Point(2.0, 0.8, "", "", "other"), Point(0.5, 0.7, "", "", "front")]
    lines = tradeoff_lines(points, tick=lambda x: f"{x:g}", limit=1.5)
    rows = {mark: next(i for i, line in enumerate(lines) if mark in line) for mark in "●·○"}
    columns = {mark: next(line.index(mark) for line in lines if mark in line) for mark in "●·○┊"}
    assert rows["●"] < rows["·"] < rows["○"]
    assert columns["○"] < columns["●"] < columns["┊"] < columns["·"]
    assert lines[0].startswith(" 90.0 %")
    assert all(len(line) <= 80 for line in lines)
    assert tradeoff_lines([Point(1.0, 0.5, "", "")], tick=str)
