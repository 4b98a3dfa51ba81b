"""Giving a process a share of each core that it uses: by a control group where one can be made, else by duty-cycling.

A device that throttles runs slower, it does not pause. So the periods are short (5 ms in a control group, 20 ms by
signals): a call longer than a period is stretched as a whole, a shorter one may fall between two pauses, which is why
percentiles are reported and not the median alone.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.device.bench.helpers import helper, last_word

__all__ = ["CGROUP_PERIOD_US", "SIGNAL_PERIOD_S", "Limit", "limited"]

CGROUP_PERIOD_US = 5_000
SIGNAL_PERIOD_S = 0.02
_LEAST_QUOTA_US = 1_000  # the kernel takes no less
_PREFIX = "skerry-bench-"


@dataclass
class Limit:
    """A quota in force.

    Attributes:
        how: what holds the process back.
        withheld_s: filled in when the block is left: seconds for which the process was held back.
    """

    how: str
    withheld_s: float | None = None


@dataclass(frozen=True)
class _Parent:
    """A control group in which ours can be made, and where the process comes from."""

    version: int
    folder: Path
    origin: Path


@contextlib.contextmanager
def limited(pid: int, share: float, threads: int, *, proc: Path = Path("/proc")) -> Iterator[Limit]:
    """Hold a process to ``share`` of ``threads`` cores until the block is left.

    Control groups that others have set up are not changed: ours is made beneath the process's own or an ancestor of
    it where the ``cpu`` controller is already handed down, and removed at the end.

    Args:
        pid: a child of this process, not yet waited for.
        share: of one core, between 0 and 1.
        threads: cores that the process would use.
        proc: where the kernel tells of control groups.
    """
    period = max(CGROUP_PERIOD_US, round(_LEAST_QUOTA_US / share))
    for parent in _parents(proc):
        group = parent.folder / f"{_PREFIX}{os.getpid()}"
        try:
            _sweep(parent.folder)
            group.mkdir()
        except OSError:
            continue
        try:
            if not _set(parent, group, pid, round(period * share * threads), period):
                continue
            limit = Limit(f"cgroup v{parent.version}, period {period / 1000:g} ms")
            yield limit
            limit.withheld_s = _throttled(group)
            return
        finally:
            with contextlib.suppress(OSError):
                (parent.origin / "cgroup.procs").write_text(str(pid), encoding="ascii")
            with contextlib.suppress(OSError):
                group.rmdir()
    with helper("governor.py", str(pid), str(share), str(SIGNAL_PERIOD_S)) as governor:
        limit = Limit(f"SIGSTOP/SIGCONT, period {SIGNAL_PERIOD_S * 1000:g} ms")
        yield limit
        limit.withheld_s = float(last_word(governor))


def _set(parent: _Parent, group: Path, pid: int, quota: int, period: int) -> bool:
    try:
        if parent.version == 2:
            (group / "cpu.max").write_text(f"{quota} {period}", encoding="ascii")
        else:
            (group / "cpu.cfs_period_us").write_text(str(period), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError:
        return False
    return True


def _parents(proc: Path) -> Iterator[_Parent]:
    """Groups in which a child group might be made, the best first."""
    try:
        mounts = [line.split() for line in (proc / "self/mounts").read_text(encoding="utf-8").splitlines()]
        own = [line.split(":", 2) for line in (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for _, point, kind, options, *_ in mounts:
        if kind == "cgroup2":
            path = next((path for number, names, path in own if number == "0" and not names), None)
            if path is None:
                continue
            origin = Path(point) / path.lstrip("/")
            for folder in (origin, *(p for p in origin.parents if p.is_relative_to(point))):
                if "cpu" in _words(folder / "cgroup.subtree_control"):
                    yield _Parent(2, folder, origin)
        elif kind == "cgroup" and "cpu" in options.split(","):
            path = next((path for _, names, path in own if "cpu" in names.split(",")), None)
            if path is not None:
                origin = Path(point) / path.lstrip("/")
                yield _Parent(1, origin, origin)


def _throttled(group: Path) -> float:
    """Seconds for which the group was held back, as the kernel counts them."""
    words = _words(group / "cpu.stat")
    count = dict(zip(words[::2], map(int, words[1::2]), strict=False))
    return count["throttled_time"] / 1e9 if "throttled_time" in count else count.get("throttled_usec", 0) / 1e6


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def _sweep(folder: Path) -> None:
    """Remove groups that a killed measurement left behind; one that still holds a process resists."""
    for group in folder.glob(f"{_PREFIX}*"):
        number = group.name.removeprefix(_PREFIX)
        if number.isdigit() and not Path("/proc", number).exists():
            with contextlib.suppress(OSError):
                group.rmdir()
