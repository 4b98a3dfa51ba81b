"""Robust aggregation of 100 updates of a million numbers, 20 of them hostile, beside ByzFL (numpy, torch) and Flower.

Processor time on one thread. Each library lives in a process of its own, with the same matrix, and they take turns.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import HERE, PEERS, PYTHON, QUIET, ROOT, Claim, NotMeasuredError, Peer, Samples, main, progress, versions

from skerry.strategies import inner
from skerry.strategies.selection import KERNEL

WAY = "numpy" if KERNEL is None else "compiled"  # how median and trimmed mean are found
PRODUCTS = "numpy" if inner.KERNEL is None else "compiled"  # how float32 rows are multiplied with each other
N, D, F = 100, 1_000_000, 20
TURNS = 5
BARS = {
    "gram": {"krum": 5.0, "multi_krum": 5.0, "geometric_median": 5.0, "monna": 5.0, "centred_clipping": 5.0},
    "coordinate": {"median": 6.0, "trimmed_mean": 2.5},
}
IN_FLOWER = {"krum", "multi_krum", "median", "trimmed_mean"}
MIXED = ("nnm+multi_krum", "nnm+geometric_median", "nnm+trimmed_mean")
GRAM_SPACE = ("krum", "multi_krum", "geometric_median", "dnc", "caf", "flame", "foolsgold", "nnm+multi_krum", "nnm+dnc")
ALL = (
    *GRAM_SPACE,
    "mean",
    "monna",
    "centred_clipping",
    "norm_clipped_mean",
    "median",
    "trimmed_mean",
    "meamed",
    "bulyan",
)
EQUAL = (
    *("mean", "median", "trimmed_mean", "meamed", "monna", "centred_clipping"),
    *("krum_of_the_paper", "multi_krum_of_the_paper", "geometric_median_at_the_end"),
    *("nnm+mean", "nnm+trimmed_mean", "arc+trimmed_mean", "clipping+mean"),
)


class Worker:
    """A process of one library that stays open and does one thing after another."""

    def __init__(self, library: str, *size: int) -> None:
        self._name = library
        interpreter = PYTHON if library == "skerry" else PEERS
        if not interpreter.exists():
            raise NotMeasuredError("the peers are not installed: run `make bench-setup`")
        self._process = subprocess.Popen(
            [interpreter, HERE / "_robust_worker.py", library, *map(str, size or (N, D, F))],
            env={**os.environ, **QUIET},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, do: str, rule: str) -> dict[str, Any]:
        """What came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "rule": rule}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasuredError(f"{self._name} ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def workers(*libraries: str, size: tuple[int, ...] = ()) -> Iterator[dict[str, Worker]]:
    """Open at once, ended whatever happens."""
    with contextlib.ExitStack() as stack:
        opened = {}
        for library in libraries:
            progress(f"{library} is getting ready")
            opened[library] = Worker(library, *size)
            stack.callback(opened[library].close)
        yield opened


def compare(group: str, ours: str = "ours") -> Iterator[Claim]:
    """How many times faster than the fastest of the libraries that have the rule."""
    with workers("skerry", "byzfl-numpy", "byzfl-torch", "flower") as opened:
        for rule, bar in BARS[group].items():
            them = [name for name in opened if name != "flower" or rule in IN_FLOWER]
            found: dict[str, list[float]] = {name: [] for name in them}
            for _ in range(TURNS):
                for name in them:
                    found[name].append(opened[name].ask("time", rule)["seconds"])
            medians = {name: Samples(values).median for name, values in found.items()}
            progress(f"{rule}: " + ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in medians.items()))
            fastest = min((name for name in them if name != "skerry"), key=medians.__getitem__)
            yield Claim(
                id=f"speed_{rule}",
                text=f"{rule}, {N} × {D:,}: processor time of the fastest other library over {ours}",
                value=medians[fastest] / medians["skerry"],
                unit="ratio",
                op=">=",
                bar=bar,
                peer=Peer(f"{fastest}, s", medians[fastest], _version(fastest)),
                spread=Samples([a / b for a, b in zip(found[fastest], found["skerry"], strict=True)]).spread,
                detail={f"{name}, ms": round(1e3 * value, 1) for name, value in medians.items()},
            )


def gram(_scratch: Path) -> Iterator[Claim]:
    """Rules in Gram space."""
    yield from compare("gram", f"ours (products: {PRODUCTS})")


def coordinate(_scratch: Path) -> Iterator[Claim]:
    """Coordinate-wise rules."""
    yield from compare("coordinate", f"ours ({WAY})")


def mixing(_scratch: Path) -> Iterator[Claim]:
    """Rules after nearest-neighbour mixing, and what ByzFL says to the same."""
    with workers("byzfl-numpy") as opened:
        said = opened["byzfl-numpy"].ask("time", "nnm+trimmed_mean")
    with workers("skerry") as opened:
        for rule in MIXED:
            times = Samples([opened["skerry"].ask("time", rule)["seconds"] for _ in range(TURNS)])
            yield Claim(
                id=f"seconds_{rule.replace('+', '_')}",
                text=f"{rule}, {N} × {D:,}: processor time",
                value=times.median,
                unit="s",
                op="<=",
                bar=0.6,
                peer=Peer("byzfl-numpy, s", said.get("seconds"), _version("byzfl-numpy"), said.get("failed")),
                spread=times.spread,
                detail={"nobody hostile, s": round(opened["skerry"].ask("honest", rule)["seconds"], 3)},
            )


def stream(_scratch: Path) -> Iterator[Claim]:
    """What is left to do when the last update has come."""
    with workers("skerry") as opened:
        found = {
            rule: Samples([opened["skerry"].ask("last", rule)["seconds"] for _ in range(3)]) for rule in GRAM_SPACE
        }
    slowest = max(found, key=lambda rule: found[rule].median)
    yield Claim(
        id="last_arrival_ms",
        text=f"most work after the last of {N} arrivals among rules in Gram space ({slowest})",
        value=1e3 * found[slowest].median,
        unit="ms",
        op="<=",
        bar=150.0,
        detail={rule: round(1e3 * times.median, 1) for rule, times in found.items()},
    )


def memory(_scratch: Path) -> Iterator[Claim]:
    """Memory beyond the input."""
    with workers("skerry") as opened:
        found = {rule: opened["skerry"].ask("memory", rule)["share"] for rule in ALL}
    with workers("byzfl-numpy", "byzfl-torch") as opened:
        theirs = {name: opened[name].ask("memory", "multi_krum")["share"] for name in opened}
    most = max(found, key=found.__getitem__)
    least = min(theirs, key=theirs.__getitem__)
    yield Claim(
        id="memory",
        text=f"largest extra memory of any rule ({most}) over the size of the input; peer: its multi_krum",
        value=found[most],
        unit="ratio",
        op="<=",
        bar=0.2,
        peer=Peer(least, theirs[least], _version(least)),
        detail={rule: round(share, 3) for rule, share in found.items()},
    )


def equal(_scratch: Path) -> Iterator[Claim]:
    """Largest difference from ByzFL over 200 random cases, relative to the largest number of the case."""
    with workers("skerry", "byzfl-numpy", size=(4, 8, 1)) as opened:
        for rule in EQUAL:
            ours, theirs = (opened[name].ask("results", rule) for name in ("skerry", "byzfl-numpy"))
            pairs = zip(ours["results"], theirs["results"], ours["scales"], strict=True)
            gaps = [float(np.abs(np.subtract(a, b)).max()) / scale for a, b, scale in pairs]
            yield Claim(
                id=f"equal_{rule.replace('+', '_')}",
                text=f"{rule}: largest relative difference from ByzFL over {len(gaps)} random cases",
                value=max(gaps),
                unit="share",
                op="<=",
                bar=1e-5,
                peer=Peer("byzfl-numpy", None, _version("byzfl-numpy")),
                detail={"cases above the bar": sum(gap > 1e-5 for gap in gaps)},
            )


def _version(library: str) -> str | None:
    package = {"flower": "flwr"}.get(library, library.partition("-")[0])
    for name in ("requirements-peers.txt", "requirements-peers-bare.txt"):
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            found, _, version = line.partition("==")
            if found.partition("[")[0] == package:
                return version
    return None


if __name__ == "__main__":
    groups = {
        "gram": gram,
        "coordinate": coordinate,
        "mixing": mixing,
        "stream": stream,
        "memory": memory,
        "equal": equal,
    }
    main(
        "aggregation",
        groups,
        {**versions("skerry", "numpy"), "median and trimmed mean": WAY, "inner products": PRODUCTS},
    )
