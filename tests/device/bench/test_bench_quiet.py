"""A latency is that of undisturbed calls: what programs, hypervisor or a slow core did is thrown away and told."""

import itertools
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import binom

from skerry.device.bench.machine import cpu_times
from skerry.device.bench.probing import Job, Probe
from skerry.device.bench.quiet import BLOCK_S, FEWEST, WANTED, Block, Pace, Timing, quiet_latency, timed_block
from skerry.device.bench.statistics import median_upper

CALL_S, WORK_S = 1e-4, 5e-5
QUIET, AWAY, STOLEN, SLOW, SLOW_AFTER, HOT = "quiet", "away", "stolen", "slow", "slow after", "hot"


class FakeMachine:
    """Time passes only when it is used; each block meets what the next of ``moments`` says."""

    def __init__(self, moments: Iterable[str], jitter: float = 0.0) -> None:
        self.now = self.stolen_s = 0.0
        self.counts: list[int] = []
        self._moments = iter(moments)
        self._jitter = itertools.cycle([1 - jitter, 1.0, 1 + jitter])

    def take(self, calls: int) -> Block:
        self.counts.append(calls)
        moment = next(self._moments)
        factor = {SLOW: 1.8, SLOW_AFTER: 1.8, HOT: 1.2}.get(moment, 1.0)
        each = CALL_S * factor * next(self._jitter)
        cpu_s = each * calls
        wall_s = cpu_s + (3e-3 if moment == AWAY else 0.0)
        # another program's slice falls into one call or, on a busy machine, makes all of them slower: the worse case
        latencies = (wall_s / calls,) * calls
        if moment == STOLEN:
            self.stolen_s += 0.01
            latencies = (2 * each,) * calls
        self.now += wall_s
        return Block(latencies, wall_s, cpu_s, (WORK_S * (1.0 if moment == SLOW_AFTER else factor), WORK_S * factor))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def timing(self, pace: Pace | None = None, patience_s: float = 30.0) -> Timing:
        return quiet_latency(
            self.take,
            pace or Pace(),
            patience_s=patience_s,
            clock=lambda: self.now,
            sleep=self.sleep,
            stolen=lambda: self.stolen_s,
        )


def test_a_quiet_machine_throws_nothing_away_and_tells_the_median():
    machine = FakeMachine(itertools.repeat(QUIET), jitter=0.02)
    found = machine.timing()
    assert (found.blocks, found.discarded, found.quiet) == (WANTED, 0, True)
    assert found.median_ms == pytest.approx(0.1)
    assert found.median_ms <= found.upper_ms <= 0.1021
    assert machine.counts[-1] * CALL_S == pytest.approx(BLOCK_S, rel=0.1)  # short, whatever the call takes


@pytest.mark.parametrize("trouble", [AWAY, STOLEN, SLOW, SLOW_AFTER])
def test_disturbed_blocks_are_taken_anew_and_counted(trouble):
    """Four of five blocks, so that the median of all blocks would be a disturbed one."""
    found = FakeMachine(itertools.cycle([trouble] * 4 + [QUIET])).timing()
    assert (found.blocks, found.discarded, found.quiet) == (WANTED, 4 * WANTED - 1, True)
    assert (found.median_ms, found.upper_ms) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.all_ms > 0.15


def test_what_is_kept_is_not_chosen_for_being_quick():
    """Calls that take longer by themselves, and a yardstick that does not: nothing may be thrown away."""
    machine = FakeMachine(itertools.repeat(QUIET), jitter=0.5)
    found = machine.timing()
    assert found.discarded == 0
    assert found.median_ms == pytest.approx(0.1)
    assert (found.least_ms, found.upper_ms) == (pytest.approx(0.05), pytest.approx(0.15))


def test_a_slow_beginning_is_recognised_once_a_quick_moment_was_seen_or_known_before():
    late = FakeMachine([SLOW] * WANTED + [QUIET] * 100).timing()  # the first three calls are not a block
    assert (late.median_ms, late.discarded) == (pytest.approx(0.1), WANTED - 1)
    deceived = FakeMachine([SLOW] * 60 + [QUIET] * 100).timing()
    assert (deceived.median_ms, deceived.discarded) == (pytest.approx(0.18), 0)  # nothing tells it from a slow machine
    pace = Pace()
    FakeMachine([QUIET] * 60).timing(pace)
    knowing = FakeMachine([SLOW] * 60 + [QUIET] * 100).timing(pace)
    assert (knowing.median_ms, knowing.discarded) == (pytest.approx(0.1), 59)


def test_a_processor_that_became_slower_for_good_is_called_so_and_after_a_minute_measured_as_it_is():
    pace = Pace()
    FakeMachine([QUIET] * 60).timing(pace)
    hot = FakeMachine(itertools.repeat(HOT))
    found = [hot.timing(pace, patience_s=15.0) for _ in range(5)]
    assert [timing.quiet for timing in found] == [False] * 3 + [True] * 2
    told = "the processor was 1.2 times slower throughout than at the beginning"
    assert [timing.doubt for timing in found] == [told] * 3 + [""] * 2
    assert found[-1].median_ms == pytest.approx(0.12)
    assert (found[-1].blocks, found[-1].discarded, found[-1].doubt) == (WANTED, 0, "")
    cooled = FakeMachine([HOT] * 11 + [QUIET] * 100).timing(pace)  # one quick moment is enough to know it again
    assert (cooled.median_ms, cooled.discarded) == (pytest.approx(0.1), 10)


def test_slow_moments_with_a_quick_one_now_and_then_never_become_what_is_usual():
    pace = Pace()
    FakeMachine([QUIET] * 60).timing(pace)
    machine = FakeMachine(itertools.cycle([HOT] * 1000 + [QUIET]))  # about every thirteen seconds
    for _ in range(6):
        found = machine.timing(pace, patience_s=15.0)
        assert not found.quiet
    assert pace.best_s == pytest.approx(WORK_S)


def test_time_in_which_nobody_looks_makes_no_slow_processor_the_usual_one():
    pace = Pace()
    FakeMachine([QUIET] * 60).timing(pace)
    machine = FakeMachine(itertools.repeat(HOT))
    for _ in range(20):
        machine.timing(pace, patience_s=0.5)
        machine.sleep(600.0)  # a training
    assert pace.best_s == pytest.approx(WORK_S)


def test_patience_ends_and_what_was_found_then_is_told():
    few = FakeMachine([QUIET] * (FEWEST + 1) + [AWAY] * 1000).timing(patience_s=2.0)
    assert (few.blocks, few.quiet) == (FEWEST, True)
    assert few.median_ms == pytest.approx(0.1)
    machine = FakeMachine([QUIET] * FEWEST + [AWAY] * 1000)
    never = machine.timing(patience_s=2.0)
    assert machine.now < 2.1
    assert (never.quiet, never.discarded) == (False, 0)
    assert never.blocks == len(machine.counts) - 1
    assert never.median_ms == pytest.approx(0.22)  # as it was; a busy machine's figure is not made better


def test_calls_that_take_longer_than_a_block_are_timed_one_by_one():
    def take(calls: int) -> Block:
        taken.append(calls)
        return Block((0.02,) * calls, 0.02 * calls, 0.02 * calls, (WORK_S, WORK_S))

    taken: list[int] = []
    found = quiet_latency(take, Pace(), patience_s=60.0, sleep=lambda _: None, stolen=lambda: 0.0)
    assert set(taken[1:]) == {1}
    assert found.median_ms == pytest.approx(20.0)


def test_the_upper_bound_covers_the_median_as_often_as_it_says():
    random = np.random.default_rng(3)
    samples = random.lognormal(size=(2000, WANTED))  # median 1
    covered = np.mean([median_upper(list(row)) >= 1 for row in samples])
    rank = int(binom.ppf(0.95, WANTED, 0.5))  # scipy's: so many values below the median, at most
    assert median_upper(list(range(WANTED))) == rank
    assert 0.94 < covered < 0.99
    assert median_upper([3.0, 1.0, 2.0]) == 3.0
    assert median_upper(list(range(3000))) == int(binom.ppf(0.95, 3000, 0.5))  # as many as patience may bring


def test_steal_is_read_from_the_kernel(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 900 10 0 5 42 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n")
    assert cpu_times(tmp_path).stolen_s == pytest.approx(0.42)
    assert cpu_times(tmp_path / "nowhere").stolen_s == 0


def test_a_real_process_says_what_a_block_needs(files):
    with Probe() as probe:
        probe.open(Job("onnxruntime", files["fp32"]), start_s=probe.up())
        burst = probe.burst(count=20)
        assert min(burst.yardsticks_s) > 0
        found = quiet_latency(lambda calls: probe.burst(count=calls), Pace(), patience_s=1.0)
    assert found.blocks >= 1
    assert 0 < found.median_ms <= found.upper_ms
    here = timed_block(lambda: sum(range(1000)), 10)
    assert len(here.latencies) == 10
    assert 0 < statistics.median(here.latencies) <= here.wall_s
    assert min(here.yardsticks_s) > 0
