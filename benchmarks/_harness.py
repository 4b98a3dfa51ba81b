"""What every benchmark shares: claims, the machine, processes of their own, and the one JSON object at the end.

Standard output is that object, progress goes to standard error. Exit code 0: everything was measured, whether or not
it holds; 1: something could not be measured (a peer that is not installed is then named in its claim as absent).
"""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PYTHON = Path(sys.executable)
SKERRY = PYTHON.with_name("skerry")
PEERS = ROOT / ".venv-bench" / "bin" / "python"

_CHILDREN_TOLD = Path(f"/proc/self/task/{os.getpid()}/children").exists()
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_DASHBOARD": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
}


class NotMeasuredError(Exception):
    """Something that a claim needs could not be measured."""


@dataclass(frozen=True)
class Samples:
    """Repetitions of one figure; what is said of them is their median."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def quantile(self, share: float) -> float:
        """The least figure that this share of them does not exceed."""
        return sorted(self.values)[max(0, math.ceil(share * len(self.values)) - 1)]

    @property
    def spread(self) -> dict[str, Any]:
        """How many, and from where to where."""
        return {"n": len(self.values), "min": _short(min(self.values)), "max": _short(max(self.values))}


@dataclass(frozen=True)
class Peer:
    """What a claim is measured against, in the same run; ``absent`` says why there is no figure."""

    name: str
    value: float | None
    version: str | None = None
    absent: str | None = None

    def to_json(self) -> dict[str, Any]:
        value = None if self.value is None else _short(self.value)
        return {"name": self.name, "version": self.version, "value": value, "absent": self.absent}


@dataclass(frozen=True)
class Claim:
    """One figure and the bar it is held against; ``op`` is ``<=`` or ``>=``.

    A value of None was not measured: the claim then neither holds nor fails.
    """

    id: str
    text: str
    value: float | None
    unit: str
    op: str
    bar: float
    peer: Peer | None = None
    spread: Mapping[str, Any] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.bar if self.op == "<=" else self.value >= self.bar

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "text": self.text,
            "value": None if self.value is None else _short(self.value),
            "unit": self.unit,
            "op": self.op,
            "bar": self.bar,
            "holds": self.holds,
            "peer": self.peer.to_json() if self.peer else None,
            "spread": self.spread,
            **({"detail": self.detail} if self.detail else {}),
        }


@dataclass(frozen=True)
class Finished:
    """A process that has ended: what it printed last, wall-clock seconds, peak memory of its tree in MB (10^6)."""

    document: dict[str, Any]
    wall_s: float
    peak_rss_mb: float


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run a program in a process of its own, from start to exit, and read the JSON object that it printed last.

    Peak memory is the largest sum, over twenty looks a second, of the resident memory of the process and all its
    descendants; pages that they share are counted once for each of them.

    Raises:
        NotMeasuredError: it failed, took too long, or printed something else.
    """
    words = [str(word) for word in command]
    begin = time.perf_counter()
    process = subprocess.Popen(
        words,
        env={**os.environ, **QUIET, **(environment or {})},
        cwd=cwd or ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    watched = psutil.Process(process.pid)
    peak = 0
    output: tuple[bytes, bytes] | None = None
    try:
        while output is None:
            peak = max(peak, _tree_rss(watched))
            try:
                output = process.communicate(timeout=0.05)
            except subprocess.TimeoutExpired:
                if time.perf_counter() - begin > timeout_s:
                    raise NotMeasuredError(f"{_name(words)} took more than {timeout_s:.0f} s") from None
    finally:  # too slow, or somebody stopped the benchmark: nothing goes on in the background
        if output is None:
            _end(watched)
    wall = time.perf_counter() - begin
    said = output[1].decode(errors="replace").strip()
    if process.returncode:
        raise NotMeasuredError(f"{_name(words)} ended with code {process.returncode}: {said[-2000:]}")
    try:
        text = output[0].decode().strip()
        document = json.loads(text if text.startswith("{") and "\n{" not in text else text.splitlines()[-1])
    except (ValueError, IndexError):
        raise NotMeasuredError(f"{_name(words)} printed no JSON object: {said[-2000:]}") from None
    return Finished(document, wall, peak / 1e6)


def run_peer(script: str, *arguments: str, timeout_s: float) -> Finished:
    """Run one of the ``_*.py`` programs beside this file with the peers' interpreter.

    Raises:
        NotMeasuredError: the peers are not installed, or the program failed.
    """
    if not PEERS.exists():
        raise NotMeasuredError("the peers are not installed: run `make bench-setup`")
    return run([PEERS, HERE / script, *arguments], timeout_s=timeout_s)


def progress(text: str) -> None:
    """One line on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str | None]:
    """Installed versions of the packages that matter here."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def document(name: str, claims: Iterable[Claim], used: Mapping[str, str | None]) -> dict[str, Any]:
    """The object that a benchmark prints."""
    return {
        "benchmark": name,
        "machine": machine(),
        "versions": dict(used),
        "claims": [claim.to_json() for claim in claims],
    }


def main(name: str, groups: Mapping[str, Callable[[Path], Iterable[Claim]]], used: Mapping[str, str | None]) -> None:
    """Measure group after group, print, and leave with the exit code that says whether everything was measured.

    Args:
        name: of the benchmark.
        groups: claims that are measured together; each gets an empty folder. ``python <name>.py GROUP…`` measures some.
        used: versions that matter.
    """
    chosen = sys.argv[1:] or list(groups)
    if unknown := [group for group in chosen if group not in groups]:
        sys.exit(f"no such group: {', '.join(unknown)}; there are: {', '.join(groups)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended on the way out
    claims: list[Claim] = []
    complete = True
    for group in chosen:
        with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
            try:
                claims += groups[group](Path(folder))
            except NotMeasuredError as error:
                complete = False
                progress(f"{group} could not be measured: {error}")
    for claim in claims:
        said = {True: "holds", False: "FAILS", None: "not measured"}[claim.holds]
        value = "-" if claim.value is None else f"{_short(claim.value):g}"
        progress(f"{said:12} {claim.id}: {value} {claim.op} {claim.bar:g} {claim.unit}")
    print(json.dumps(document(name, claims, used), ensure_ascii=False, indent=2, allow_nan=False))
    sys.exit(0 if complete and all(claim.holds is not None for claim in claims) else 1)


def _tree_rss(process: psutil.Process) -> int:
    """Bytes, of a process and all its descendants.

    Where the system tells a process's children it is asked for these alone: to look through all processes takes ten
    times as long, twenty times a second, from programs that use every processor.
    """
    if not _CHILDREN_TOLD:
        return _tree_rss_by_looking(process)
    pages, members = 0, [process.pid]
    while members:
        folder = Path("/proc", str(members.pop()))
        with contextlib.suppress(OSError):  # it has ended
            pages += int((folder / "statm").read_bytes().split()[1])
            for thread in (folder / "task").iterdir():
                members += map(int, (thread / "children").read_bytes().split())
    return pages * resource.getpagesize()


def _tree_rss_by_looking(process: psutil.Process) -> int:
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


def _end(process: psutil.Process) -> None:
    """End a process and what it started."""
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(members, timeout=10)


def _name(words: Sequence[str]) -> str:
    return " ".join([Path(words[0]).name, *(Path(w).name for w in words[1:2]), *words[2:]])


def _short(value: float) -> float:
    """Four significant digits: more would be noise."""
    if value == 0 or not math.isfinite(value):
        return float(value)
    return float(f"{value:.4g}")


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
