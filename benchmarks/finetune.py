"""Fine-tuning on devices: what a step adds, what a cache saves, how small a device's software is, and what is learnt.

``memory``: one private step of head mode at 224 pixels. ``cache``: the first epoch against later ones. ``torch_free``:
a fresh environment of ``pip install .[device]`` takes part in a round. ``watch``: smartwatch windows, a whole network
without privacy and a head with it, in five folds over pairs of people, two at a time. ``fashion``: the head of
EfficientNet-Lite0 on twenty uneven devices.
"""

import importlib.metadata
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _device_environment import bytes_in, device_environment, site_packages
from _harness import (
    HERE,
    PYTHON,
    SKERRY,
    Claim,
    Finished,
    NotMeasuredError,
    Peer,
    Samples,
    main,
    progress,
    run,
    versions,
)
from packaging.requirements import Requirement

REPETITIONS = 5
FOLDS = 5
CORES = 2


def memory(folder: Path) -> Iterator[Claim]:
    """Resident memory that one step adds to a device that has loaded its base."""
    command = [SKERRY, "model", "show", "efficientnet_lite0", "--mode", "head", "--batch", "16", "--again", "--json"]
    place = {"SKERRY_HOME": str(folder)}
    added, steps = [], []
    for number in range(1, REPETITIONS + 1):
        (cost,) = run(command, timeout_s=900, environment=place).document["modes"]
        added.append(cost["added_mb"])
        steps.append(cost["step_ms"])
        progress(f"memory {number}/{REPETITIONS}: {cost['added_mb']} MB, step {cost['step_ms']} ms")
    yield Claim(
        id="head_step_mb",
        text="head mode, EfficientNet-Lite0 in int8 at 224 pixels: resident memory that one private step of 16 "
        "examples, their features included, adds to the loaded model",
        value=Samples(added).median,
        unit="MB",
        op="<=",
        bar=60,
        spread=Samples(added).spread,
        detail={"step_ms": statistics.median(steps), "trained": cost["trained"]},
    )


def cache(folder: Path) -> Iterator[Claim]:
    """What keeping features in memory saves."""
    found: dict[int, list[dict[str, Any]]] = {224: [], 64: []}
    for number in range(1, REPETITIONS + 1):
        for size, ones in found.items():
            command = [PYTHON, HERE / "_epochs.py", str(size)]
            ones.append(run(command, timeout_s=1800, environment={"SKERRY_HOME": str(folder)}).document)
            said = f"first {ones[-1]['first_s']:.3f} s, later {ones[-1]['later_s'] * 1e3:.2f} ms"
            progress(f"cache {number}/{REPETITIONS}, {size} pixels: {said}")
    for size, ones in found.items():
        ratios = Samples([one["first_s"] / one["later_s"] for one in ones])
        yield Claim(
            id=f"feature_cache_{size}",
            text=f"digits, one writer's pictures at {size} pixels: first private epoch of head mode over a later one, "
            "whose features are kept",
            value=ratios.median,
            unit="ratio",
            op=">=",
            bar=50,
            spread=ratios.spread,
            detail={key: statistics.median(one[key] for one in ones) for key in ("first_s", "later_s", "examples")},
        )


def torch_free(folder: Path) -> Iterator[Claim]:
    """A device's environment without torch: does it train, and how large is it?"""
    python = device_environment(folder)
    work = folder / "work"
    work.mkdir()
    place = {"SKERRY_HOME": str(work / "home")}
    run([PYTHON, HERE / "_torch_free.py", "prepare", work], timeout_s=900, environment=place)
    progress("torch_free: training in the environment without torch")
    alone = {**place, "PYTHONPATH": ""}  # what is installed there, not these sources
    device = run([python, HERE / "_torch_free.py", "train", work], timeout_s=300, environment=alone)
    if device.document["torch_installed"] or device.document["torch_imported"]:
        raise NotMeasuredError("the environment without torch has torch")
    if not device.document["skerry"].startswith(str(folder)):
        raise NotMeasuredError(f"the environment without torch ran {device.document['skerry']}")
    opened = run([PYTHON, HERE / "_torch_free.py", "open", work], timeout_s=300, environment=place).document
    small, full = bytes_in(site_packages(python)), _closure_bytes(["train"])
    yield Claim(
        id="torch_free_trains",
        text="`pip install .[device]` in a fresh environment has no torch, follows a sealed instruction in head mode, "
        "and the server opens its update (1: yes)",
        value=float(opened["trained"]),
        unit="yes",
        op=">=",
        bar=1,
        detail={**opened, "wall_s": round(device.wall_s, 2), "peak_rss_mb": round(device.peak_rss_mb)},
    )
    yield Claim(
        id="torch_free_size",
        text="bytes installed by `.[device]` (pip and setuptools left out) over those of `.[train]`, which adds torch",
        value=small / full,
        unit="ratio",
        op="<=",
        bar=0.5,
        peer=Peer("skerry[train], MB", full / 1e6, importlib.metadata.version("skerry")),
        detail={"device_mb": round(small / 1e6), "train_mb": round(full / 1e6)},
    )


def watch(folder: Path) -> Iterator[Claim]:
    """Five folds without privacy, then with it."""
    begin = time.perf_counter()
    open_runs = _folds("watch_open", folder)
    wall = time.perf_counter() - begin
    accuracies = [_accuracy(one) for one in open_runs]
    yield Claim(
        id="watch_accuracy",
        text="watch, federated DS-CNN (one block, twice the width, every weight trained) in int8, mean held-out "
        "accuracy of five folds over pairs of people, no privacy",
        value=statistics.mean(accuracies),
        unit="share",
        op=">=",
        bar=0.80,
        spread=Samples(accuracies).spread,
        detail={"folds": [round(a, 4) for a in accuracies]},
    )
    yield Claim(
        id="watch_seconds",
        text=f"the same five runs, from start to report, {CORES} at a time on {CORES} cores",
        value=wall,
        unit="s",
        op="<=",
        bar=180,
        detail={"each_s": [round(one.wall_s, 1) for one in open_runs]},
    )
    private = _folds("watch", folder)
    figures = [_accuracy(one) for one in private]
    yield Claim(
        id="watch_private",
        text="the same folds under example-level ε ≤ 8 at δ = 1e-5: head over the same block, untrained "
        "(scenario watch), reported; the bar is what guessing one class gets at best",
        value=statistics.mean(figures),
        unit="share",
        op=">=",
        bar=0.17,
        peer=Peer("without privacy", statistics.mean(accuracies)),
        spread=Samples(figures).spread,
        detail={"folds": [round(a, 4) for a in figures], "epsilon": _epsilon(private)},
    )


def fashion(folder: Path) -> Iterator[Claim]:
    """Twenty devices with a Dirichlet mixture of clothes each, with privacy and without."""
    for id_, scenario, bar in (("fashion_open", "fashion_open", 0.84), ("fashion_private", "fashion", 0.80)):
        one = run([SKERRY, "run", scenario, "--json", "--runs-dir", folder / "runs"], timeout_s=7200)
        progress(f"{scenario}: {_accuracy(one):.4f} in {one.wall_s:.0f} s")
        yield Claim(
            id=id_,
            text="fashion, 20 devices, α = 0.3, head of int8 EfficientNet-Lite0 at 64 pixels, all 10,000 test pictures"
            + (", no privacy" if scenario == "fashion_open" else ", example-level ε ≤ 8 at δ = 1e-5"),
            value=_accuracy(one),
            unit="share",
            op=">=",
            bar=bar,
            detail={
                "base_accuracy": round(one.document["quality"]["base"]["accuracy"], 4),
                "epsilon": _epsilon([one]),
                "wall_s": round(one.wall_s),
            },
        )


def _folds(scenario: str, folder: Path) -> list[Finished]:
    """Every fold, as many at a time as there are cores; each process computes on one thread."""

    def fold(number: int) -> Finished:
        settings = ["--set", f"task.holdout={number}", "--runs-dir", folder / f"{scenario}-{number}"]
        found = run([SKERRY, "run", scenario, "--json", *settings], timeout_s=7200)
        progress(f"{scenario}, fold {number}: {_accuracy(found):.4f} in {found.wall_s:.0f} s")
        return found

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(fold, range(FOLDS)))


def _accuracy(finished: Finished) -> float:
    return float(finished.document["quality"]["final"]["accuracy"])


def _epsilon(runs: Iterable[Finished]) -> Any:
    spent = [one.document["privacy"]["epsilon_rdp"] for one in runs]
    return None if None in spent else round(max(spent), 4)


def _closure_bytes(extras: Sequence[str]) -> int:
    """Bytes of skerry with these extras and everything that it needs, as installed here."""
    found: dict[str, int] = {}
    waiting = [("skerry", frozenset(extras))]
    asked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in asked:
            continue
        asked.add((name, wanted))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise NotMeasuredError(f"{name} is not installed here") from error
        files = [distribution.locate_file(file) for file in distribution.files or []]
        kept = [Path(str(file)) for file in files if "__pycache__" not in str(file)]
        found[name] = sum(path.stat().st_size for path in kept if path.is_file())
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                waiting.append((need.name.lower().replace("_", "-"), frozenset(need.extras)))
    return sum(found.values())


if __name__ == "__main__":
    groups = {"memory": memory, "cache": cache, "torch_free": torch_free, "watch": watch, "fashion": fashion}
    main("finetune", groups, versions("skerry", "numpy", "onnxruntime", "torch", "opacus", "flwr"))
