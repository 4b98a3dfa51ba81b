"""Conditions are really brought about, and nothing is left of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from skerry.device.bench.burning import burning
from skerry.device.bench.quota import limited

SPIN = "import sys, time\nprint('spinning', flush=True)\nwhile True: pass"


@pytest.fixture
def spinning():
    """A process that wants a whole core."""
    process = subprocess.Popen([sys.executable, "-S", "-c", SPIN], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def cpu_share(pid: int, seconds: float, states: set[str]) -> float:
    watched = psutil.Process(pid)
    before, begin = watched.cpu_times(), time.monotonic()
    while time.monotonic() < begin + seconds:
        states.add(watched.status())
        time.sleep(0.01)
    after = watched.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - begin)


@pytest.mark.parametrize("proc", [Path("/proc"), Path("/nonexistent")], ids=["best", "signals"])
def test_a_tenth_of_a_core_is_little_more_than_that(spinning, proc):
    states: set[str] = set()
    with limited(spinning.pid, 0.1, 1, proc=proc) as limit:
        share = cpu_share(spinning.pid, 1.5, states)
    assert share < 0.25
    assert limit.withheld_s > 0
    by_signals = limit.how.startswith("SIGSTOP")  # a busy machine keeps a process below its quota, but stops none
    assert by_signals == (psutil.STATUS_STOPPED in states)
    assert proc == Path("/proc") or by_signals


@pytest.mark.parametrize("proc", [Path("/proc"), Path("/nonexistent")], ids=["best", "signals"])
def test_afterwards_the_process_runs_on_and_nothing_is_left(spinning, proc):
    groups: list[Path] = []

    def stopped() -> None:
        with limited(spinning.pid, 0.05, 1, proc=proc):
            groups.extend(Path("/sys/fs/cgroup").glob(f"**/skerry-bench-{os.getpid()}"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert psutil.Process(spinning.pid).status() != psutil.STATUS_STOPPED
    assert not any(group.exists() for group in groups)
    assert not psutil.Process().children() or [c.pid for c in psutil.Process().children()] == [spinning.pid]


def test_a_process_that_ends_by_itself_ends_its_quota_too():
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(0.2)"])
    with limited(process.pid, 0.5, 1, proc=Path("/nonexistent")):
        assert process.wait(timeout=180) == 0


def test_every_core_is_burnt_by_a_process_bound_to_it():
    with burning() as state:
        burners = psutil.Process().children()
        assert [burner.cpu_affinity() for burner in burners] == [[core] for core in state.cores]
        time.sleep(1)
    assert state.cores == tuple(sorted(os.sched_getaffinity(0)))
    assert state.burnt_cores > 0.1
    assert not any(burner.is_running() for burner in burners)


def test_burners_end_when_the_one_who_wanted_them_is_killed():
    burn = "with burning(): print('up', flush=True); time.sleep(60)"
    program = f"from skerry.device.bench.burning import burning\nimport time\n{burn}"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    parent.stdout.readline()
    burners = psutil.Process(parent.pid).children()
    assert burners
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(burners, timeout=180)
    assert not alive
