"""The most accurate network within measured limits: screening, successive halving, and a last look at the result.

1. *screen* (:mod:`skerry.device.compression.candidates`): networks are measured untrained; what passes the limits goes;
2. *rungs*: the remaining ones train for two epochs, the better half for two more, the better half of those for four
   (successive halving: Jamieson & Talwalkar, arXiv:1502.07943); they are chosen by a part of the public data that
   none of them trains on;
3. *final*: the winner is trained further, on all public data and for the full number of epochs, and its file is timed
   three times more, each in a process of its own. If the slowest of them is over the limits, the next one is taken.

A latency is that of calls which nothing else disturbed (:mod:`skerry.device.bench.quiet`), and it is the upper end of
its interval that must keep the limit. A busy moment makes a network slower, never quicker: where too few calls were
undisturbed, a network over the limit is timed once more, and then that counts. What was undisturbed and over the limit
is not tried again: the better of two tries would keep the limit more often than its bound says.

A rung is a recipe with one more training step than the rung before, so whatever was trained is kept in its folder and
found again (:mod:`skerry.device.compression.pipeline`): a search that was stopped goes on. Held-out examples are seen
once, by the networks of the third part.

::

    <out>/
        screened.json        the networks that were found fit to be trained
        candidates/<name>/   each network of the search, with its steps
        final/<name>/        the winner, as `skerry model compress` leaves it
        fit.json             limits, every network's figures, the front, the winner
        model/               the winner's files
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from skerry.canonical import digest
from skerry.config import ModelConfig
from skerry.config.fit import FitConfig, LimitsConfig
from skerry.config.recipe import BitsStep, Int8Step, PruneStep, Recipe, SourceConfig, Step, TrainStep
from skerry.device.bench.quiet import Pace, Timing
from skerry.device.compression.candidates import Candidate, allowed_ms, excess, require_limits, screen
from skerry.device.compression.figures import Figures, slowest
from skerry.device.compression.front import pareto_front
from skerry.device.compression.kept import PACKED, deliver
from skerry.device.compression.pipeline import Compressed, Watcher, compress
from skerry.device.compression.split_task import SplitTask
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.errors import RunFailedError
from skerry.fsio import write_json
from skerry.wording import size as bytes_in_words

__all__ = ["FitWatcher", "Fitted", "Tried", "fit", "fit_document", "front", "rung_epochs"]

_AGAIN = 3  # measurements in a row by which a winner keeps the limits


@dataclass(frozen=True)
class Tried:
    """A network of the search, as far as it came.

    Attributes:
        candidate: what it is.
        epochs: that it was trained.
        figures: accuracy on the public part to choose by; latency, and bytes that are stored; with few bits for each
            weight these are the bytes that the final file may have.
        fits: whether its file keeps the limits.
        graph: the file of its float form.
    """

    candidate: Candidate
    epochs: int
    figures: Figures
    fits: bool
    graph: Path

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"name": self.candidate.name, **asdict(self), "graph": str(self.graph)}


@dataclass(frozen=True)
class Fitted:
    """A finished search.

    Attributes:
        out: its folder.
        config: what was searched.
        tried: every network that was trained, the most accurate first.
        winner: the chosen one.
        result: the winner's recipe, followed to the end; accuracy on held-out examples.
        timing: the slowest of the measurements by which it was found to keep the latency limit; None where there is
            no such limit.
    """

    out: Path
    config: FitConfig
    tried: tuple[Tried, ...]
    winner: Candidate
    result: Compressed
    timing: Timing | None

    @property
    def figures(self) -> Figures:
        """Of the delivered file."""
        figures = self.result.stages[-1].figures
        return figures if self.timing is None else figures.timed(self.timing)

    @property
    def file(self) -> Path:
        """What a device stores."""
        return self.out / "model" / (PACKED if self.winner.form == "bits" else f"model.{self.winner.form}.onnx")

    @property
    def runs(self) -> Path:
        """What onnxruntime runs: the stored file, or the float one that packed weights unfold to."""
        return _runs(self.out / "model", self.winner)


class FitWatcher(Protocol):
    """Is told how a search goes on."""

    def screening(self, what: str) -> None:
        """A network is measured untrained."""

    def screened(self, candidates: Sequence[Candidate]) -> None:
        """These will be trained."""

    def rung(self, number: int, of: int, epochs: int, alive: int) -> None:
        """So many networks train for so many epochs now; numbers are from 1, the last one is the final."""

    def network(self, candidate: Candidate, number: int) -> Watcher:
        """A network's turn, from 1; gives who watches its steps."""

    def tried(self, tried: Sequence[Tried]) -> None:
        """What is known so far, the most accurate first."""


def fit(config: FitConfig, out: Path, watcher: FitWatcher) -> Fitted:
    """Search, train and deliver.

    Args:
        config: limits and what is searched.
        out: the output folder; made when missing.
        watcher: is told how it goes on.

    Raises:
        InputError: no limit is given, or nothing keeps the limits: says what is the closest.
        RunFailedError: what was trained does not keep the limits any more, or training diverged.
    """
    require_limits(config.limits)
    at = lru_cache(_Tasks(config))
    candidates = _screened(config, out, at, watcher)
    watcher.screened(candidates)
    rungs = rung_epochs(len(candidates), config.epochs)
    alive, known, pace = list(candidates), dict[str, Tried](), Pace.looked_for()
    for number, epochs in enumerate(rungs, 1):
        watcher.rung(number, len(rungs) + 1, epochs, len(alive))
        for turn, candidate in enumerate(alive, 1):
            recipe = _rung_recipe(config, candidate, rungs[:number])
            folder = out / "candidates" / candidate.name
            task = SplitTask(at(candidate.size), config.seed)
            made = compress(recipe, folder, watcher.network(candidate, turn), task=task, pace=pace)
            figures = made.stages[-1].figures
            if candidate.form == "bits":
                figures = replace(figures, bytes=candidate.bytes)  # what it will be packed to in the end
            if _in_doubt(figures, config.limits):
                figures = figures.timed(slowest(_runs(made.out / "model", candidate), 1, pace))
            fits = excess(config.limits, figures.bound_ms, figures.bytes) <= 0
            graph = (folder / "steps" / made.stages[-1].folder / "graph.safetensors").resolve()
            known[candidate.name] = Tried(candidate, sum(rungs[:number]), figures, fits, graph)
            write_json(out / "fit.json", fit_document(config, _ranked(known)), durable=False)
            watcher.tried(_ranked(known))
        ranked = [t.candidate for t in _ranked(known) if t.candidate in alive and t.fits]
        alive = ranked[: max(1, len(alive) // 2)]
        if not alive:
            raise _over(config.limits, [tried.figures for tried in known.values()])
    return _final(config, out, _ranked(known), at, watcher, len(rungs) + 1, pace)


def rung_epochs(candidates: int, final: int) -> tuple[int, ...]:
    """Passes over the data in each rung: 2, 2, 4, 8, …, while more than two networks are left, ``final`` in all."""
    rungs, left = [2], candidates
    while left > 2 and 2 * sum(rungs) <= final:
        rungs.append(sum(rungs))
        left //= 2
    return tuple(rungs)


def front(tried: Sequence[Tried]) -> tuple[int, ...]:
    """Networks that no other one dominates in accuracy, latency and bytes."""
    return pareto_front([[-t.figures.accuracy, t.figures.latency_ms, t.figures.bytes] for t in tried])


def fit_document(config: FitConfig, tried: Sequence[Tried], fitted: Fitted | None = None) -> dict[str, Any]:
    """What ``fit.json`` holds, as far as a search has come."""
    on_front = set(front(tried))
    return {
        "schema": 1,
        "config": config.model_dump(mode="json", exclude_none=True),
        "networks": [{"front": i in on_front, **t.to_json()} for i, t in enumerate(tried)],
        "winner": None if fitted is None else fitted.winner.name,
        "latency_ms": None if fitted is None else fitted.figures.latency_ms,
        "timing": None if fitted is None or fitted.figures.timing is None else asdict(fitted.figures.timing),
        "final": None if fitted is None else fitted.result.to_json(),
    }


class _Tasks:
    """The task at an input size."""

    def __init__(self, config: FitConfig) -> None:
        self._config = config

    def __call__(self, size: int) -> Task:
        return load_task(self._config.task, ModelConfig(architecture=self._config.architecture, input_size=size))


def _screened(config: FitConfig, out: Path, at: Callable[[int], Task], watcher: FitWatcher) -> tuple[Candidate, ...]:
    """The networks to train: those found by a search that was stopped, so that it goes on with the same ones."""
    path = out / "screened.json"
    key = digest(config.model_dump(mode="json", exclude={"seed", "epochs", "batch_size", "learning_rate"}))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == key:
            return tuple(Candidate(**one) for one in found["candidates"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there was none, or it is damaged: measure again
    candidates = screen(config, at, watcher.screening)
    write_json(path, {"key": key, "candidates": [asdict(c) for c in candidates]}, durable=False)
    return candidates


def _ranked(known: dict[str, Tried]) -> tuple[Tried, ...]:
    return tuple(sorted(known.values(), key=lambda t: (t.fits, t.figures.accuracy), reverse=True))


def _rung_recipe(config: FitConfig, candidate: Candidate, rungs: Sequence[int]) -> Recipe:
    """The steps of all rungs up to one, as many passes for a pruned network as for another."""
    steps: list[Step] = []
    for i, epochs in enumerate(rungs):
        rate = config.learning_rate / (1 if i == 0 else 2)
        if i == 0 and candidate.keep is not None:
            half = epochs // 2
            steps.append(_train(config, epochs - half, rate))
            steps += [PruneStep(keep_macs=candidate.keep), _train(config, half, rate / 2)]
        else:
            steps.append(_train(config, epochs, rate))
    return _recipe(config, candidate, steps, final=False)


def _final_recipe(config: FitConfig, tried: Tried) -> Recipe:
    """The network as the search left it, trained further on all public data with the full number of passes."""
    recipe = _recipe(config, tried.candidate, [_train(config, config.epochs, config.learning_rate / 2)], final=True)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"file": tried.graph})})


def _train(config: FitConfig, epochs: int, rate: float) -> TrainStep:
    return TrainStep(epochs=epochs, batch_size=config.batch_size, learning_rate=rate)


def _recipe(config: FitConfig, candidate: Candidate, steps: list[Step], *, final: bool) -> Recipe:
    """The steps, and those of the network's form; weights are given few bits at the end only: it takes a while."""
    source = SourceConfig(architecture=config.architecture, width=candidate.width, input_size=candidate.size)
    form: list[Step] = [Int8Step()] if candidate.form == "int8" else []
    if candidate.form == "bits" and final:
        form = [BitsStep(size_kb=candidate.bytes / 1000)]
    return Recipe(name="fit", seed=config.seed, task=config.task, model=source, steps=(*steps, *form))


def _final(
    config: FitConfig,
    out: Path,
    tried: tuple[Tried, ...],
    at: Callable[[int], Task],
    watcher: FitWatcher,
    number: int,
    pace: Pace,
) -> Fitted:
    watcher.rung(number, number, config.epochs, 1)
    over: list[Figures] = []
    for turn, one in enumerate((t for t in tried if t.fits), 1):
        candidate, recipe = one.candidate, _final_recipe(config, one)
        folder = out / "final" / candidate.name
        made = compress(recipe, folder, watcher.network(candidate, turn), task=at(candidate.size), pace=pace)
        figures = made.stages[-1].figures
        if config.limits.latency_ms is not None:
            runs = _runs(made.out / "model", candidate)
            figures = figures.timed(slowest(runs, _AGAIN, pace))
            if _in_doubt(figures, config.limits):
                figures = figures.timed(slowest(runs, _AGAIN, pace))
        if excess(config.limits, figures.bound_ms, figures.bytes) > 0:
            over.append(figures)
            continue
        deliver(made.out / "model", out / "model")
        fitted = Fitted(out, config, tried, candidate, made, figures.timing)
        write_json(out / "fit.json", fit_document(config, tried, fitted), durable=False)
        return fitted
    raise _over(config.limits, over)


def _runs(model: Path, candidate: Candidate) -> Path:
    """What onnxruntime runs of a folder of files."""
    return model / f"model.{'fp32' if candidate.form == 'bits' else candidate.form}.onnx"


def _in_doubt(figures: Figures, limits: LimitsConfig) -> bool:
    """Over the latency limit by a timing that other work disturbed."""
    disturbed = figures.timing is None or not figures.timing.quiet
    return disturbed and figures.bound_ms > allowed_ms(limits)


def _over(limits: LimitsConfig, found: Sequence[Figures]) -> RunFailedError:
    closest = min(found, key=lambda f: excess(limits, f.bound_ms, f.bytes))
    margin = "" if limits.latency_ms is None else f", with a margin of {limits.margin:.0%} on the latency"
    doubt = "" if closest.timing is None else closest.timing.doubt
    return RunFailedError(
        f"no trained network keeps the limits{margin}; the closest takes up to {closest.bound_ms:.3f} ms and "
        f"{bytes_in_words(closest.bytes)}" + (f"; {doubt}" if doubt else ""),
        where="model fit",
        mend="allow more, lower limits.margin, or try again when the machine has less to do",
    )
