"""A search keeps its limits, chooses by data nothing trained on, goes on where it stopped, and says what is closest."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.config import ModelConfig
from skerry.config.fit import FitConfig, fit_config
from skerry.device.bench.quiet import Timing
from skerry.device.compression import candidates, figures
from skerry.device.compression.candidates import Candidate, screen
from skerry.device.compression.fit import Fitted, fit, front, rung_epochs
from skerry.device.compression.front import pareto_front
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.packing import load_packed
from skerry.device.compression.split_task import SplitTask
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.device.training.central import predict
from skerry.errors import InputError, RunFailedError, ScenarioError
from tests._hurried import hurried_latencies

BASE = [
    'task.name="waves_task:WavesTask"', "architecture=ds_cnn", "widths=[0.25,0.5,1.0,1.5]", "sizes=[20,32]",
    "epochs=4", "batch_size=50", "keep=[0.6]", 'forms=["fp32","int8"]',
]  # fmt: skip


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, hurried: None) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def config(*more: str) -> FitConfig:
    return fit_config([*BASE, *more])


def tasks(of: FitConfig) -> Callable[[int], Task]:
    return lambda size: load_task(of.task, ModelConfig(architecture=of.architecture, input_size=size))


def taking(ms: float) -> Timing:
    """A timing without any spread."""
    return Timing(ms, ms, ms, blocks=25, discarded=0, quiet=True)


class Steps:
    def __init__(self, owner: "Watching") -> None:
        self._owner = owner

    def begin(self, number, of, kind):
        pass

    def training(self, progress):
        self._owner.trained += 1
        if self._owner.trained == self._owner.stop:
            raise KeyboardInterrupt

    def measuring(self):
        pass

    def end(self, stage):
        self._owner.stages.append(stage)


class Watching:
    def __init__(self, stop: int | None = None) -> None:
        self.trained, self.stop, self.stages, self.rungs, self.candidates, self.known = 0, stop, [], [], (), ()

    def screening(self, what):
        pass

    def screened(self, candidates):
        self.candidates = candidates

    def rung(self, number, of, epochs, alive):
        self.rungs.append((number, epochs, alive))

    def network(self, candidate, number):
        return Steps(self)

    def tried(self, tried):
        self.known = tried


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_the_front_is_exactly_what_nothing_dominates(rows):
    chosen = set(pareto_front(rows))
    for i, row in enumerate(rows):
        dominated = any(all(a <= b for a, b in zip(o, row, strict=True)) and o != row for o in rows)
        assert (i in chosen) == (not dominated)


def test_rungs_double_and_never_outgrow_the_final_training():
    assert rung_epochs(8, 8) == (2, 2, 4)
    assert rung_epochs(8, 4) == (2, 2)
    assert rung_epochs(2, 100) == (2,)
    assert rung_epochs(1, 1) == (2,)


def test_what_is_chosen_by_is_neither_trained_on_nor_held_out():
    whole = tasks(config())(32)
    split = SplitTask(whole, 3)
    train, choose = split.public_data(), split.evaluation()["public"]
    assert (len(train), len(choose)) == (480, 120)
    rows = {row.tobytes() for row in whole.public_data().x}
    assert {r.tobytes() for r in train.x} | {r.tobytes() for r in choose.x} == rows
    assert not {r.tobytes() for r in train.x} & {r.tobytes() for r in choose.x}
    assert np.array_equal(SplitTask(whole, 3).public_data().x, train.x)
    assert not np.array_equal(SplitTask(whole, 4).public_data().x, train.x)
    assert split.devices() == ()
    with pytest.raises(InputError):
        split.local_data("only")
    with pytest.raises(InputError, match="too few"):
        SplitTask(tasks(config('task.name="waves_task:UnlabelledTask"'))(32), 0)


def test_everything_that_is_screened_keeps_the_limits_and_is_as_large_as_it_may_be():
    asked = config("limits.size_mb=0.06", "limits.latency_ms=1000")
    found = screen(asked, tasks(asked))
    assert all(c.bytes <= 60_000 for c in found)
    assert [c.macs for c in found] == sorted((c.macs for c in found), reverse=True)
    assert len(found) == 2  # both sizes give the same windows
    widest = max(found, key=lambda c: c.width)
    assert (widest.width, widest.keep, widest.form) == (1.5, 0.6, "int8")  # it fits in no milder way
    generous = config("limits.size_mb=50")
    assert [(c.width, c.keep, c.form) for c in screen(generous, tasks(generous))] == [
        (1.5, None, "fp32"), (1.0, None, "fp32"),
    ]  # fmt: skip


def test_a_busy_machine_drops_no_network_that_might_fit_and_a_quiet_one_does(monkeypatch: pytest.MonkeyPatch):
    asked = config("limits.latency_ms=100", "limits.margin=0.2", "widths=[0.25]", "keep=[0.6]", 'forms=["fp32"]')
    timing = replace(taking(90.0), least_ms=79.0, quiet=False)
    monkeypatch.setattr(candidates, "quiet_latency", lambda *_, **__: timing)
    assert [c.latency_ms for c in screen(asked, tasks(asked))] == [79.0]
    monkeypatch.setattr(candidates, "quiet_latency", lambda *_, **__: replace(timing, quiet=True))
    with pytest.raises(InputError, match=r"takes 90\.000 ms"):
        screen(asked, tasks(asked))


def test_few_bits_let_a_wider_network_into_the_same_bytes_and_the_packed_file_keeps_them(tmp_path: Path):
    asked = config("limits.size_mb=0.02", 'forms=["fp32","int8","bits"]', "epochs=2", "widths=[1.0,1.5]")
    with pytest.raises(InputError, match="closest"):
        screen(config("limits.size_mb=0.02", "widths=[1.0,1.5]"), tasks(asked))
    watcher = Watching()
    fitted = fit(asked, tmp_path, watcher)
    assert watcher.candidates[0].bytes == 20_000  # fewer than eight bits, as many as the limit has room for
    assert fitted.winner.form == "bits"
    assert fitted.file.stat().st_size == fitted.figures.bytes <= 20_000
    x = tasks(asked)(32).evaluation()["one"].x
    unpacked = predict(GraphModule(load_packed(fitted.file).graph), x)
    assert np.abs(unpacked - OnnxModel(fitted.runs).run(x)).max() < 1e-3
    only = config("limits.latency_ms=1000", 'forms=["bits"]')
    with pytest.raises(InputError):
        screen(only, tasks(only))


def test_when_nothing_fits_the_closest_is_told_and_allowing_it_is_enough():
    asked = config("limits.size_mb=0.001")
    with pytest.raises(InputError, match="the closest") as caught:
        screen(asked, tasks(asked))
    told = float(re.search(r"([\d.]+) kB", caught.value.what).group(1))
    enough = config(f"limits.size_mb={(told + 0.1) / 1000}")
    (found, *_) = screen(enough, tasks(enough))
    assert found.bytes / 1000 == pytest.approx(told, abs=0.1)
    with pytest.raises(InputError, match="no limit"):
        screen(config(), tasks(config()))
    with pytest.raises(ScenarioError, match=r"limits\.margin"):
        config("limits.margin=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Watching]:
    watcher = Watching()
    with pytest.MonkeyPatch.context() as patch, hurried_latencies():
        patch.syspath_prepend(str(Path(__file__).parent))
        asked = config("limits.size_mb=0.12", "limits.latency_ms=500", "candidates=3")
        return fit(asked, tmp_path_factory.mktemp("fit"), watcher), watcher


def test_the_winner_keeps_the_limits_and_is_the_best_of_the_last_rung(done: tuple[Fitted, Watching]):
    fitted, watcher = done
    assert fitted.file.stat().st_size == fitted.figures.bytes <= 120_000
    assert fitted.figures.latency_ms <= 500
    assert [(number, epochs) for number, epochs, _ in watcher.rungs][-1] == (len(watcher.rungs), 4)
    last = max(t.epochs for t in fitted.tried)
    best = max((t for t in fitted.tried if t.epochs == last), key=lambda t: t.figures.accuracy)
    assert fitted.winner == best.candidate
    task = tasks(fitted.config)(fitted.winner.size)
    parts = list(task.evaluation().values())
    said = np.concatenate([OnnxModel(fitted.file).run(p.x) for p in parts]).argmax(1)
    assert fitted.figures.accuracy == pytest.approx((said == np.concatenate([p.y for p in parts])).mean())
    assert fitted.figures.accuracy > 0.85


def test_networks_are_chosen_by_public_examples_that_they_did_not_train_on(done: tuple[Fitted, Watching]):
    fitted, _ = done
    split = SplitTask(tasks(fitted.config)(32), fitted.config.seed).evaluation()["public"]
    for t in fitted.tried:
        steps = sorted((fitted.out / "candidates" / t.candidate.name / "steps").iterdir())
        said = OnnxModel(next(steps[-1].glob("*.onnx"))).run(split.x).argmax(1)
        assert t.figures.accuracy == pytest.approx((said == split.y).mean())


def test_the_document_tells_every_network_and_the_front(done: tuple[Fitted, Watching]):
    fitted, watcher = done
    document = json.loads((fitted.out / "fit.json").read_text())
    assert document["winner"] == fitted.winner.name
    assert {n["name"] for n in document["networks"]} == {c.name for c in watcher.candidates}
    on_front = [n["name"] for n in document["networks"] if n["front"]]
    assert on_front == [fitted.tried[i].candidate.name for i in front(fitted.tried)]
    assert document["final"]["final"]["accuracy"] == fitted.figures.accuracy
    recipe = (fitted.out / "final" / fitted.winner.name / "recipe.toml").read_text()
    assert f"width = {fitted.winner.width}" in recipe


def test_a_search_that_was_stopped_goes_on_and_ends_the_same(
    done: tuple[Fitted, Watching], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fitted, watcher = done
    monkeypatch.setattr(figures, "time_file", lambda *_, **__: taking(1.0))
    half = Watching(stop=watcher.trained // 2)
    with pytest.raises(KeyboardInterrupt):
        fit(fitted.config, tmp_path, half)
    assert half.known
    kept = json.loads((tmp_path / "screened.json").read_text())["candidates"]
    assert json.loads((tmp_path / "fit.json").read_text())["winner"] is None
    rest = Watching()
    again = fit(fitted.config, tmp_path, rest)
    assert rest.trained < watcher.trained
    assert any(stage.reused for stage in rest.stages)
    assert json.loads(json.dumps([asdict(c) for c in rest.candidates])) == kept
    assert again.winner.name == fitted.winner.name
    assert (again.figures.accuracy, again.figures.bytes) == (fitted.figures.accuracy, fitted.figures.bytes)


def test_what_is_too_slow_in_the_end_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = config("limits.latency_ms=100", "widths=[0.25,0.5]", "epochs=2", "limits.margin=0.2")

    def slow(ms: dict[str, float]):
        """As if a file in a folder of that kind took so long."""

        def measured(file: Path, *_: object, **__: object) -> Timing:
            return taking(next((v for k, v in ms.items() if k in str(file.parent)), 1.0))

        monkeypatch.setattr(figures, "time_file", measured)

    slow({"final": 79.0})
    first = fit(asked, tmp_path / "a", Watching()).winner.name
    slow({f"final/{first}": 81.0})
    second = fit(asked, tmp_path / "b", Watching())
    assert second.winner.name != first
    slow({"final": 90.0})
    with pytest.raises(RunFailedError, match=r"closest takes up to 90\.000 ms"):
        fit(asked, tmp_path / "d", Watching())
    slow({"candidates": 90.0})
    with pytest.raises(RunFailedError, match=r"closest takes up to 90\.000 ms"):
        fit(asked, tmp_path / "e", Watching())


def test_a_winner_that_is_slow_in_two_disturbed_series_is_not_delivered_and_a_busy_moment_drops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked = config("limits.latency_ms=100", "widths=[0.25,0.5]", "epochs=2", "candidates=1", "limits.margin=0.2")

    def now_and_then(slow: dict[str, set[int]], quiet: bool = False) -> list[str]:
        """As if the n-th measurement of a file in a folder of that kind took 81 ms, and others 5."""
        timed: list[str] = []

        def measured(file: Path, *_: object, **__: object) -> Timing:
            timed.append("final" if "final" in str(file) else "candidates")
            late = timed.count(timed[-1]) in slow.get(timed[-1], set())
            return replace(taking(81.0), quiet=quiet) if late else taking(5.0)

        monkeypatch.setattr(figures, "time_file", measured)
        return timed

    # Of the final one two are those of the steps, as it came and trained; then a series of three, and another.
    now_and_then({"final": {5, 6}})
    with pytest.raises(RunFailedError, match=r"closest takes up to 81\.000 ms"):
        fit(asked, tmp_path / "a", Watching())
    assert not (tmp_path / "a" / "model").exists()
    timed = now_and_then({"candidates": {1}, "final": {2, 3}})
    fitted = fit(asked, tmp_path / "b", Watching())
    assert [t.figures.latency_ms for t in fitted.tried] == [5.0]
    assert fitted.figures.latency_ms == 5.0
    assert timed.count("final") == 8
    # What was undisturbed has no second try: the better of two would keep a limit more often than the bound says.
    timed = now_and_then({"final": {4}}, quiet=True)
    with pytest.raises(RunFailedError, match=r"closest takes up to 81\.000 ms and [^;]*$"):
        fit(asked, tmp_path / "c", Watching())
    assert timed.count("final") == 5


def test_the_upper_bound_of_the_latency_must_keep_the_limit_and_the_median_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked = config("limits.latency_ms=100", "widths=[0.25]", "epochs=2", "candidates=1", "limits.margin=0.2")
    monkeypatch.setattr(figures, "time_file", lambda *_, **__: replace(taking(79.0), upper_ms=81.0, quiet=False))
    with pytest.raises(RunFailedError, match=r"up to 81\.000 ms .* never quiet"):
        fit(asked, tmp_path / "over", Watching())
    monkeypatch.setattr(figures, "time_file", lambda *_, **__: replace(taking(5.0), upper_ms=79.0, discarded=7))
    fitted = fit(asked, tmp_path / "within", Watching())
    told = json.loads((tmp_path / "within/fit.json").read_text())
    assert told["latency_ms"] == fitted.figures.latency_ms == 5.0
    assert told["timing"] == asdict(fitted.timing)
    assert (fitted.timing.upper_ms, fitted.timing.blocks, fitted.timing.discarded) == (79.0, 75, 21)
    stage = told["final"]["final"]
    assert (stage["latency_ms"], stage["timing"]["discarded"]) == (5.0, 7)
    assert fit(asked, tmp_path / "within", Watching()).result.stages[-1].figures.timing == replace(
        taking(5.0), upper_ms=79.0, discarded=7
    )  # found again in its folder


def test_names_are_unique_and_fit_for_folders():
    made = [
        Candidate(width, size, keep, form, 1, 1.0, 1)
        for width, size, keep, form in product((0.25, 1.0), (20, 28), (None, 0.5), ("fp32", "int8"))
    ]
    names = {c.name for c in made}
    assert len(names) == len(made)
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
