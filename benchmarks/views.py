"""Whether views of an example help the shipped head, and whether its steps are of the right size: digits, no attack.

Nothing here looks at the held-out writers. Six folds: the head is trained with eight of the eleven training writers and
measured on the other three, with the device's own trainer, integer noise and the scenario's rule, two noise seeds each.
A gain is that of a setting over the shipped one in the same folds with the same noise. Half a point is worth having:
views should bring as much, and no other step should.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _harness import Claim, main, progress, versions

EPSILONS = (8.0, 3.0)
VIEWS = (1, 2, 4, 8)
RATES = (100.0, 200.0, 300.0, 400.0)
SEEDS = (0, 1)
WORTH_IT = 0.005


@dataclass(frozen=True)
class _Bench:
    """The eleven training writers of the shipped scenario, through its frozen base."""

    most: int

    @cached_property
    def scenario(self) -> Any:
        from skerry.config import default_scenario

        return default_scenario(["attack.devices=0"])

    @cached_property
    def _inputs(self) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        found = {}
        for device in self.task.devices():
            data = self.task.local_data(device)
            seen = [self.model.prepare(data.x), *(self.model.prepare_view(data.x, v) for v in range(1, self.most))]
            found[device] = (np.stack(seen, axis=1), data.y)
        return found

    @cached_property
    def task(self) -> Any:
        from skerry.device.tasks.registry import load_task

        return load_task(self.scenario.task, self.scenario.model)

    @cached_property
    def model(self) -> Any:
        from skerry.device.local_model import build_local_model, load_local_model

        found = build_local_model(self.scenario.model, self.task, progress)
        return load_local_model(self.scenario.model, found, self.task)

    @cached_property
    def folds(self) -> list[frozenset[str]]:
        """Two draws of three times three writers, no writer twice in a draw."""
        generator, names = np.random.default_rng(5), np.array(self.task.devices())
        drawn = [names[generator.permutation(len(names))] for _ in range(2)]
        return [frozenset(order[i : i + 3].tolist()) for order in drawn for i in (0, 3, 6)]

    def accuracies(self, epsilon: float, *, views: int = 1, rate: float | None = None) -> npt.NDArray[np.float64]:
        """``(folds, seeds)``: of the writers left out, after the scenario's rounds."""
        from skerry.server.prepare import train_plan

        privacy = self.scenario.privacy.model_copy(update={"epsilon": epsilon})
        plan = replace(train_plan(self.scenario.model_copy(update={"privacy": privacy})), views=views)
        if rate is not None:
            plan = replace(plan, learning_rate=rate)
        return np.array([[self._accuracy(plan, left_out, seed) for seed in SEEDS] for left_out in self.folds])

    def _accuracy(self, plan: Any, left_out: frozenset[str], seed: int) -> float:
        from skerry.security.privacy.stream import seeded_stream
        from skerry.strategies import parse_rule

        rule = parse_rule(self.scenario.defence.aggregator, tolerate=self.scenario.defence.tolerate)
        vector = self.model.initial()
        for number in range(self.scenario.rounds):
            deltas = [
                self.model.train(
                    vector,
                    x[:, 0] if plan.views == 1 else x[:, : plan.views],
                    y,
                    plan,
                    seeded_stream(seed, "train", device, number),
                )
                for device, (x, y) in self._inputs.items()
                if device not in left_out
            ]
            vector = vector + rule(np.stack(deltas))
        parts = [self._inputs[device] for device in sorted(left_out)]
        right = [self.model.logits(vector, x[:, 0]).argmax(1) == y for x, y in parts]
        return float(np.concatenate(right).mean())


def multiplicity(_folder: Path) -> Iterator[Claim]:
    """1, 2, 4 and 8 views, all else as shipped."""
    bench = _Bench(max(VIEWS))
    yield from _compared(bench, "views", [{"views": views} for views in VIEWS], ">=")


def steps(_folder: Path) -> Iterator[Claim]:
    """Learning rates, all else as shipped; the clip stays, so they are the lengths of steps."""
    bench = _Bench(1)
    shipped = bench.scenario.training.learning_rate
    rates = [shipped, *(rate for rate in RATES if rate != shipped)]
    yield from _compared(bench, "rate", [{"rate": rate} for rate in rates], "<=")


def _compared(bench: _Bench, name: str, settings: list[dict[str, Any]], op: str) -> Iterator[Claim]:
    for epsilon in EPSILONS:
        usual = None
        for setting in settings:
            begin = time.process_time()
            found = bench.accuracies(epsilon, **setting)
            seconds = time.process_time() - begin
            usual = found if usual is None else usual
            gains = (found - usual).mean(1)
            value = next(iter(setting.values()))
            progress(f"epsilon {epsilon:g}, {name} {value:g}: {found.mean():.4f}, gain {gains.mean():+.4f}")
            if found is usual:
                base = float(found.mean())
                continue
            yield Claim(
                id=f"{name}_{value:g}_epsilon_{epsilon:g}",
                text=f"accuracy on writers left out, {name} {value:g} over the shipped {base:.4f} at ε = {epsilon:g}",
                value=float(gains.mean()),
                unit="share of digits",
                op=op,
                bar=WORTH_IT,
                spread={"n": len(gains), "min": float(gains.min()), "max": float(gains.max())},
                detail={
                    "accuracy": round(float(found.mean()), 4),
                    "standard_error": round(float(gains.std(ddof=1) / len(gains) ** 0.5), 4),
                    "processor_seconds": round(seconds, 1),
                },
            )


if __name__ == "__main__":
    main("views", {"multiplicity": multiplicity, "steps": steps}, versions("skerry", "numpy"))
