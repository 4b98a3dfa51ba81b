"""What a measurement was made on: processor, instructions, memory, versions, heat; and what else the machine did.

Nothing here names the machine or its user; all of it together is still a fingerprint.
"""

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuTimes", "Machine", "cpu_times", "elsewhere_cores", "installed", "machine", "temperature", "versions"]

_FLAGS = frozenset(
    [
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "avx512_bf16",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimdhp",
        "asimddp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
    ]
)
_PACKAGES = ("skerry", "numpy", "onnxruntime", "torch", "executorch", "torchao")


@dataclass(frozen=True)
class Machine:
    """A machine without its name.

    Attributes:
        architecture: as the kernel calls it: ``x86_64``, ``aarch64``.
        processor: the model that the kernel reports, or "".
        cores: that a process may use.
        memory_mb: installed, in MB (10^6).
        isa: instruction sets that matter to int8 and bf16, as the kernel spells them.
        system: operating system and its release.
        python: the interpreter's version.
        governor: of the clock of the first core, or "".
    """

    architecture: str
    processor: str
    cores: int
    memory_mb: int
    isa: tuple[str, ...]
    system: str
    python: str
    governor: str


@dataclass(frozen=True)
class CpuTimes:
    """A look at the machine's clocks, in seconds.

    Attributes:
        at: wall time.
        busy_s: CPU time that all processes together have had, and what was stolen; None where nobody counts.
        stolen_s: CPU time that the hypervisor gave to others while this machine wanted it; 0 where nobody counts.
    """

    at: float
    busy_s: float | None
    stolen_s: float = 0.0


def machine(root: Path = Path("/")) -> Machine:
    """This machine.

    Args:
        root: in which ``proc`` and ``sys`` lie.
    """
    lines = _lines(root / "proc/cpuinfo")
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set(f"{said.get('flags', '')} {said.get('Features', '')}".split())
    governor = _lines(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = 0
    return Machine(
        architecture=platform.machine(),
        processor=said.get("model name") or said.get("Model") or said.get("Hardware") or platform.processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mb=round(memory / 1e6),
        isa=tuple(sorted(flags & _FLAGS)),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        governor=governor[0] if governor else "",
    )


def versions() -> Mapping[str, str]:
    """Versions of the packages that matter, those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def installed(module: str) -> bool:
    """Whether a top-level module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def temperature(root: Path = Path("/")) -> float | None:
    """The hottest thermal zone in degrees Celsius; None where the kernel shows none."""
    found = []
    for file in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        lines = _lines(file)
        if lines and lines[0].lstrip("-").isdigit():
            found.append(int(lines[0]) / 1000)
    return max(found, default=None)


def cpu_times(root: Path = Path("/")) -> CpuTimes:
    """The machine's CPU clocks now."""
    lines = _lines(root / "proc/stat")
    busy, stolen = None, 0.0
    if lines and lines[0].startswith("cpu "):
        user, nice, system, _, _, irq, soft, steal, *_ = map(int, lines[0].split()[1:])
        ticks = os.sysconf("SC_CLK_TCK")
        busy, stolen = (user + nice + system + irq + soft + steal) / ticks, steal / ticks
    return CpuTimes(time.monotonic(), busy, stolen)


def elsewhere_cores(before: CpuTimes, after: CpuTimes, own_s: float) -> float | None:
    """How many cores the rest of the machine kept busy on average between two looks; None where nobody counts.

    Args:
        before: the first look.
        after: the second.
        own_s: CPU seconds of the measured process in between.
    """
    if before.busy_s is None or after.busy_s is None or after.at <= before.at:
        return None
    return max(0.0, (after.busy_s - before.busy_s - own_s) / (after.at - before.at))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
