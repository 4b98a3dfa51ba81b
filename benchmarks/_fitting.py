"""`model fit` on fashion: are its limits kept when measured again, and is it better than what a person would try?

The five hand-made settings are trained for as many passes over the same public data as the winner was in all. Those
that do not keep the limits on this machine do not count, and are named.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _harness import Claim, NotMeasuredError, Peer, Samples, progress
from _pruning import Said

from skerry.config import TaskConfig
from skerry.config.fit import FitConfig, LimitsConfig
from skerry.config.recipe import Int8Step, PruneStep, Recipe, SourceConfig, Step, TrainStep
from skerry.device.compression.candidates import Candidate
from skerry.device.compression.figures import latency_ms
from skerry.device.compression.fit import Fitted, Tried, fit
from skerry.device.compression.pipeline import Watcher, compress

LATENCY_MS, SIZE_MB = 0.3, 0.7
AGAIN = 10
EPOCHS, RATE, BATCH = 6, 0.1, 64
# width, pixels, share of the work to which it is pruned halfway; all in int8
HAND_MADE = ((0.25, 28, None), (0.35, 28, None), (0.25, 40, None), (0.35, 32, 0.7), (0.5, 28, 0.5))
TASK = TaskConfig(name="fashion", channels=1)


class Search:
    """Says how a search goes on, on standard error."""

    def screening(self, what: str) -> None:
        pass

    def screened(self, candidates: Sequence[Candidate]) -> None:
        progress(f"{len(candidates)} networks keep the limits untrained")

    def rung(self, number: int, of: int, epochs: int, alive: int) -> None:
        progress(f"rung {number} of {of}: {alive} networks, {epochs} epochs")

    def network(self, candidate: Candidate, number: int) -> Watcher:
        progress(f"network {number}: {candidate.told}")
        return Said()

    def tried(self, tried: Sequence[Tried]) -> None:
        pass


def fitting(folder: Path) -> Iterator[Claim]:
    """Limits when measured again, and accuracy against five hand-made settings."""
    limits = LimitsConfig(latency_ms=LATENCY_MS, size_mb=SIZE_MB)
    config = FitConfig(task=TASK, limits=limits, candidates=6, epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE)
    found = fit(config, folder / "fit", Search())
    yield _measured_again(found)
    passes = EPOCHS + next(t.epochs for t in found.tried if t.candidate == found.winner)
    hand = [_hand_made(*setting, passes, folder) for setting in HAND_MADE]
    fitting_hand = [made for made in hand if made["fits"]]
    if not fitting_hand:
        raise NotMeasuredError("none of the five hand-made settings keeps the limits on this machine")
    best = max(fitting_hand, key=lambda made: made["accuracy"])
    yield Claim(
        id="fit_beats",
        text=f"fashion, {LATENCY_MS:g} ms and {SIZE_MB:g} MB: held-out accuracy of `model fit` less that of the best "
        f"of {len(fitting_hand)} hand-made settings within the limits, {passes} passes over the public data each",
        value=found.figures.accuracy - best["accuracy"],
        unit="of examples, difference",
        op=">=",
        bar=0.0,
        peer=Peer(f"best by hand: {best['name']}", best["accuracy"]),
        detail={"winner": found.winner.name, "accuracy": found.figures.accuracy, "hand_made": hand},
    )


def _measured_again(found: Fitted) -> Claim:
    progress(f"{found.winner.told}: measured {AGAIN} times again")
    times = Samples([latency_ms(found.runs) for _ in range(AGAIN)])
    size = found.file.stat().st_size
    return Claim(
        id="fit_within",
        text=f"fashion: times that the network of `model fit` keeps {LATENCY_MS:g} ms and {SIZE_MB:g} MB when it is "
        "measured again, each in a process of its own",
        value=sum(ms <= LATENCY_MS and size <= 1e6 * SIZE_MB for ms in times.values),
        unit=f"of {AGAIN}",
        op=">=",
        bar=AGAIN,
        peer=Peer("limit, ms", LATENCY_MS),
        spread=times.spread,
        detail={"winner": found.winner.name, "bytes": size, "latency_ms": list(times.values)},
    )


def _hand_made(width: float, size: int, keep: float | None, passes: int, folder: Path) -> dict[str, Any]:
    name = f"w{width:g}-{size}px" + ("" if keep is None else f"-keep{round(100 * keep)}")
    progress(f"by hand: {name}")
    first = passes if keep is None else passes // 2
    steps: list[Step] = [TrainStep(epochs=first, batch_size=BATCH, learning_rate=RATE)]
    if keep is not None:
        again = TrainStep(epochs=passes - first, batch_size=BATCH, learning_rate=RATE / 2)
        steps += [PruneStep(keep_macs=keep), again]
    recipe = Recipe(task=TASK, model=SourceConfig(width=width, input_size=size), steps=(*steps, Int8Step()))
    f = compress(recipe, folder / name, Said()).stages[-1].figures
    fits = f.latency_ms <= LATENCY_MS and f.bytes <= 1e6 * SIZE_MB
    return {"name": name, "accuracy": f.accuracy, "latency_ms": f.latency_ms, "bytes": f.bytes, "fits": fits}
