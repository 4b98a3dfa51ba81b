"""What is measured, how much, and what comes out: the records of a measurement."""

from dataclasses import dataclass, field
from pathlib import Path

from skerry.device.bench.conditions import Condition
from skerry.device.bench.statistics import Drift, Latency

__all__ = ["Artefact", "Cell", "ColdStart", "Heat", "Measurement", "Memory", "Settings"]


@dataclass(frozen=True)
class Artefact:
    """One file for one runtime.

    Attributes:
        runtime: a name of :data:`skerry.device.bench.runners.RUNTIMES`.
        precision: ``fp32`` or ``int8``.
        file: what the runtime opens.
    """

    runtime: str
    precision: str
    file: Path


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        threads: counts to measure with.
        inferences: calls after which a measurement ends, when it has lasted half a second.
        seconds: after which a measurement ends, when there are 20 calls.
        sustained_s: how long ``sustained`` runs.
        cold_starts: fresh processes whose start is timed, in ``idle``.
        seed: of the noise that is fed.
    """

    threads: tuple[int, ...] = (1,)
    inferences: int = 200
    seconds: float = 5.0
    sustained_s: float = 60.0
    cold_starts: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """What one measurement is of."""

    artefact: Artefact
    threads: int
    condition: Condition

    @property
    def name(self) -> str:
        """For a progress display."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.artefact.runtime} {self.artefact.precision}{threads}, {self.condition.name}"


@dataclass(frozen=True)
class ColdStart:
    """From nothing to the first answer: medians over ``n`` fresh processes, in milliseconds."""

    n: int
    total_ms: float
    start_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    max_total_ms: float


@dataclass(frozen=True)
class Memory:
    """What a memory limit did.

    Attributes:
        limit_mb: of private writable memory (``RLIMIT_DATA``), in MB; None when the least was searched for.
        works: whether the model loads and runs under it.
        least_mb: the least that works, to 4 MB.
        why: what ended the process at the limit, or just below the least that works.
    """

    limit_mb: int | None
    works: bool
    least_mb: int | None
    why: str | None


@dataclass(frozen=True)
class Heat:
    """Temperature in degrees Celsius before and after, where the kernel tells it."""

    before: float
    after: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of one cell; what does not belong to its condition is None.

    Attributes:
        runtime: which one.
        precision: ``fp32`` or ``int8``.
        threads: that one call may use.
        condition: as it is written on the command line.
        batch: examples in one call.
        file_bytes: size of the model's file.
        skipped: why nothing was measured.
        how: what brings the condition about.
        cold: from nothing to the first answer.
        latency: of one call.
        throughput: examples per second.
        peak_rss_mb: largest resident memory of the process, in MB.
        cpu_share: CPU time over wall time of the process while calls were made.
        elsewhere_cores: cores that the rest of the machine kept busy meanwhile: how quiet it was.
        withheld_share: of the time, for which a quota held the process back.
        burnt_cores: cores' worth of time that the burning processes took.
        drift: of latency while running without a pause.
        series: ``(seconds from the start, ms)``: medians of up to 60 stretches of a sustained run.
        memory: what a limit did.
        heat: in a sustained run.
    """

    runtime: str
    precision: str
    threads: int
    condition: str
    batch: int
    file_bytes: int
    skipped: str | None = None
    how: str | None = None
    cold: ColdStart | None = None
    latency: Latency | None = None
    throughput: float | None = None
    peak_rss_mb: float | None = None
    cpu_share: float | None = None
    elsewhere_cores: float | None = None
    withheld_share: float | None = None
    burnt_cores: float | None = None
    drift: Drift | None = None
    series: tuple[tuple[float, float], ...] = field(default=())
    memory: Memory | None = None
    heat: Heat | None = None

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What makes two measurements comparable."""
        return (self.runtime, self.precision, self.threads, self.condition)
