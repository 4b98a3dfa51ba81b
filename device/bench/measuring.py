"""The measurements of one model, one after the other: each runtime, precision and thread count under each condition.

Each measurement is made in a fresh process, started under the condition it measures, so that a cold start, too, is what
a device would see. Sustained running takes the time that it is given; the others end after ``inferences`` calls, but
last half a second, because a burst of a few milliseconds fits between two pauses of a quota; or after ``seconds``, once
there are 20 calls.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from skerry.device.bench.burning import burning
from skerry.device.bench.conditions import Condition
from skerry.device.bench.machine import cpu_times, elsewhere_cores, temperature
from skerry.device.bench.probing import Burst, Job, Opening, Probe, ProbeDied
from skerry.device.bench.quota import limited
from skerry.device.bench.records import Artefact, Cell, ColdStart, Heat, Measurement, Memory, Settings
from skerry.device.bench.statistics import drift, latency

__all__ = ["measure", "plan"]

LEAST_CALLS = 20
SHORTEST_S = 0.5
MEMORY_STEP = 4_000_000
"""How finely the least memory is searched for, in bytes."""
_MEMORY_CEILING = 1 << 35


def plan(artefacts: Sequence[Artefact], conditions: Sequence[Condition], settings: Settings) -> tuple[Cell, ...]:
    """All cells, in the order in which they are measured."""
    return tuple(
        Cell(artefact, threads, condition)
        for artefact in artefacts
        for threads in settings.threads
        for condition in conditions
    )


def measure(
    cells: Sequence[Cell], settings: Settings, progress: Callable[[Cell], None] = lambda _: None
) -> Iterator[Measurement]:
    """Measure cell after cell.

    Args:
        cells: what to measure.
        settings: how much.
        progress: is told each cell before it is measured.

    Raises:
        InputError: a runtime cannot read its file.
        RunFailedError: the measured process failed for no reason that the condition explains.
    """
    for cell in cells:
        progress(cell)
        blank = Measurement(
            cell.artefact.runtime,
            cell.artefact.precision,
            cell.threads,
            cell.condition.name,
            cell.condition.batch,
            cell.artefact.file.stat().st_size,
        )
        job = Job(cell.artefact.runtime, cell.artefact.file, cell.threads, seed=settings.seed)
        try:
            if cell.condition.kind == "memory":
                yield _memory(blank, job, cell.condition.value, settings)
            else:
                yield _timed(blank, job, cell.condition, settings)
        except ProbeDied as died:
            if died.kind != "unsuitable":
                raise died.error(job) from died
            yield replace(blank, skipped=died.message.partition(": ")[2])


def _timed(blank: Measurement, job: Job, condition: Condition, settings: Settings) -> Measurement:
    share = (condition.value or 100) / 100
    extra = settings.cold_starts - 1 if condition.kind == "idle" else 0
    openings = [_cold(job) for _ in range(extra)]
    heat = temperature()
    with contextlib.ExitStack() as stack:
        burners = stack.enter_context(burning()) if condition.kind == "burn" else None
        probe = stack.enter_context(Probe())
        start_s = probe.up()
        hold = limited(probe.pid, share, job.threads) if condition.kind == "quota" else contextlib.nullcontext()
        with hold as limit:
            openings.append(probe.open(job, start_s=start_s))
            before = cpu_times()
            burst = _burst(probe, condition, settings)
            after = cpu_times()
            begun = after.at - before.at + openings[-1].total_s - start_s
    after_heat = temperature()
    sustained = condition.kind == "sustained"
    made = replace(
        blank,
        how=limit.how if limit else f"a process bound to each of {len(burners.cores)} cores" if burners else None,
        cold=_cold_start(openings),
        latency=latency(burst.latencies),
        throughput=condition.batch * len(burst.latencies) / burst.wall_s,
        peak_rss_mb=burst.peak_rss / 1e6,
        cpu_share=burst.cpu_share,
        elsewhere_cores=elsewhere_cores(before, after, burst.cpu_s),
        withheld_share=None if not limit or limit.withheld_s is None else limit.withheld_s / begun,
        burnt_cores=burners.burnt_cores if burners else None,
    )
    if not sustained:
        return made
    return replace(
        made,
        drift=drift(burst.ends, burst.latencies),
        series=_series(burst),
        heat=None if heat is None or after_heat is None else Heat(heat, after_heat),
    )


def _burst(probe: Probe, condition: Condition, settings: Settings) -> Burst:
    if condition.kind == "sustained":
        return probe.burst(count=1_000_000_000, least=LEAST_CALLS, seconds=settings.sustained_s)
    return _calls(probe, settings, condition.batch)


def _calls(probe: Probe, settings: Settings, batch: int = 1) -> Burst:
    return probe.burst(
        batch=batch,
        count=settings.inferences,
        shortest=min(SHORTEST_S, settings.seconds),
        least=min(LEAST_CALLS, settings.inferences),
        seconds=settings.seconds,
    )


def _cold(job: Job) -> Opening:
    with Probe() as probe:
        return probe.open(job, start_s=probe.up())


def _cold_start(openings: Sequence[Opening]) -> ColdStart:
    def middle(values: Iterator[float]) -> float:
        return 1e3 * statistics.median(values)

    return ColdStart(
        n=len(openings),
        total_ms=middle(o.total_s for o in openings),
        start_ms=middle(o.start_s for o in openings),
        import_ms=middle(o.import_s for o in openings),
        load_ms=middle(o.load_s for o in openings),
        first_ms=middle(o.first_s for o in openings),
        max_total_ms=1e3 * max(o.total_s for o in openings),
    )


def _series(burst: Burst) -> tuple[tuple[float, float], ...]:
    size = -(-len(burst.ends) // 60)
    return tuple(
        (round(burst.ends[i], 3), round(1e3 * statistics.median(burst.latencies[i : i + size]), 4))
        for i in range(0, len(burst.ends), size)
    )


def _memory(blank: Measurement, job: Job, limit_mb: int | None, settings: Settings) -> Measurement:
    how = "RLIMIT_DATA: private writable memory"
    if limit_mb is not None:
        burst, why = _under(job, limit_mb * 1_000_000, settings)
        if burst is None:
            return replace(blank, how=how, memory=Memory(limit_mb, works=False, least_mb=None, why=why))
        return replace(
            blank,
            how=how,
            memory=Memory(limit_mb, works=True, least_mb=None, why=None),
            latency=latency(burst.latencies),
            throughput=len(burst.latencies) / burst.wall_s,
            peak_rss_mb=burst.peak_rss / 1e6,
            cpu_share=burst.cpu_share,
        )
    _cold(job)  # what fails without a limit is not the limit's doing
    few = replace(settings, inferences=3, seconds=0.1)
    low, high, told = 0, 16 * MEMORY_STEP, None
    while _under(job, high, few)[0] is None:
        low, high = high, 2 * high
        if high > _MEMORY_CEILING:
            return replace(blank, skipped="no memory limit is enough for it")
    while high - low > MEMORY_STEP:
        middle = (low + high) // (2 * MEMORY_STEP) * MEMORY_STEP
        burst, why = _under(job, middle, few)
        low, high, told = (middle, high, why) if burst is None else (low, middle, told)
    return replace(blank, how=how, memory=Memory(None, works=True, least_mb=high // 1_000_000, why=told))


def _under(job: Job, limit: int, settings: Settings) -> tuple[Burst | None, str | None]:
    """A burst under a memory limit, or what ended it."""
    try:
        with Probe() as probe:
            probe.open(replace(job, memory=limit), start_s=probe.up())
            return _calls(probe, settings), None
    except ProbeDied as died:
        if died.kind == "unsuitable":
            raise
        return None, f"{died.stage}: {died.message}" if died.stage else died.message
