"""A device asks for as much memory as a model was measured to take."""

from pathlib import Path

import pytest

from skerry.device.agent.care import DeviceCare
from skerry.device.agent.eligibility import DeviceConditions
from skerry.device.agent.peaks import Peaks
from skerry.device.agent.settings import Limits
from skerry.errors import RefusedError
from tests.device.agent._world import World
from tests.device.agent._world import undertaking as _work
from tests.device.agent.machines import calm


def test_memory_is_asked_for_by_the_measured_peak_and_what_was_taken_counts(tmp_path: Path) -> None:
    machine = calm(tmp_path)
    machine.write("proc/self/clear_refs", "")

    def holds(now_mb: int, most_mb: int) -> None:
        machine.write("proc/self/status", f"VmHWM: {most_mb * 1000} kB\nVmRSS: {now_mb * 1000} kB")

    peaks = Peaks(tmp_path, machine.host)
    peaks.expect("model")
    assert peaks.needed() == 0  # nobody measured it yet
    holds(100, 100)
    with peaks.measuring():
        holds(150, 300)
    assert peaks.needed() == round(1.3 * 200 * 1_024_000)
    again = Peaks(tmp_path, machine.host)
    again.expect("model")
    holds(100, 100)
    with again.measuring():
        holds(250, 250)
        assert again.needed() == round(1.3 * 200 * 1_024_000) - 150 * 1_024_000
    assert again.needed() == round(1.3 * 200 * 1_024_000)
    again.expect("another")
    assert again.needed() == 0


def test_too_little_memory_for_the_measured_peak_is_a_lapse(world: World) -> None:
    (world.home / "agent").mkdir(exist_ok=True)
    (world.home / "agent" / "peaks.json").write_text('{"model": 1000000000}')
    peaks = Peaks(world.home / "agent", world.machine.host)
    conditions = DeviceConditions(Limits(), world.home, world.machine.host, memory_needed=peaks.needed)
    care = DeviceCare(conditions, world.checkpoints, lambda: 200, peaks=peaks)
    world.machine.memory(1300)
    with pytest.raises(RefusedError, match="MB of memory are free"):
        care.admit(_work(until=100))
    world.machine.memory(1600)
    care.admit(_work(until=300))
