"""Whether somebody else uses the device: processor time of other processes, and a person at it."""

from dataclasses import replace

from skerry.device.agent.host import Host
from skerry.device.bench.machine import CpuTimes, cpu_times, elsewhere_cores

__all__ = ["OthersLoad", "user_idle_s"]

_WINDOW_S = 5.0  # a shorter one would stop training for every job of a timer
_LOGIN = "org.freedesktop.login1"
_ASK = ("busctl", "--system", "get-property", _LOGIN, "/org/freedesktop/login1", f"{_LOGIN}.Manager")


class OthersLoad:
    """Processor time that other processes take, as a share of all cores, over windows of five seconds."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._before = self._look()
        self._share: float | None = None

    def share(self) -> float | None:
        """Of the last whole window, 0 to 1; None until the first is over, or where the kernel does not tell."""
        now = self._look()
        if now[0].at - self._before[0].at >= _WINDOW_S:
            cores = elsewhere_cores(self._before[0], now[0], now[1] - self._before[1])
            self._share = None if cores is None else min(1.0, cores / self._cores())
            self._before = now
        return self._share

    def _look(self) -> tuple[CpuTimes, float]:
        return replace(cpu_times(self._host.root), at=self._host.monotonic()), self._host.own_cpu_s()

    def _cores(self) -> int:
        lines = (self._host.text("proc/stat") or "").splitlines()
        return max(1, sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines))


def user_idle_s(host: Host) -> float | None:
    """For how long nobody was at the device, by logind; 0 while somebody is, None where logind is not there."""
    hint = (host.run(*_ASK, "IdleHint") or "").split()
    since = (host.run(*_ASK, "IdleSinceHintMonotonic") or "").split()
    if hint == ["b", "false"]:
        return 0.0
    if hint != ["b", "true"] or len(since) != 2 or not since[1].isdigit():
        return None
    return max(0.0, host.monotonic() - int(since[1]) / 1e6)
