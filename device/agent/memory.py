"""Memory that this process could still take: of the machine, and within the limit of its control group."""

from pathlib import Path

from skerry.device.agent.host import Host

__all__ = ["free_memory", "peak_memory", "reset_peak_memory", "resident_memory", "total_memory"]


def free_memory(host: Host) -> int | None:
    """Bytes that can be taken without swapping (``MemAvailable``), or less where a ``MemoryMax`` leaves less."""
    machine = _field(host, "proc/meminfo", "MemAvailable:")
    groups = [left for folder in _groups(host) if (left := _left(host, folder)) is not None]
    return min([*groups, *([] if machine is None else [machine])], default=None)


def total_memory(host: Host) -> int | None:
    """Bytes of the machine; None where the kernel does not tell."""
    return _field(host, "proc/meminfo", "MemTotal:")


def resident_memory(host: Host) -> int:
    """Bytes of memory that this process holds; 0 where the kernel does not tell."""
    return _field(host, "proc/self/status", "VmRSS:") or 0


def peak_memory(host: Host) -> int:
    """The most that it held since :func:`reset_peak_memory`; 0 where the kernel does not tell."""
    return _field(host, "proc/self/status", "VmHWM:") or 0


def reset_peak_memory(host: Host) -> bool:
    """Count the peak from here on (proc(5), ``clear_refs``); False where that cannot be done."""
    try:
        (host.root / "proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return False
    return True


def _groups(host: Host) -> list[Path]:
    """Folders of this process's control group (v2) and of those above it."""
    for line in (host.text("proc/self/cgroup") or "").splitlines():
        if line.startswith("0::/"):
            inner = Path("sys/fs/cgroup") / line[4:]
            return [folder for folder in (inner, *inner.parents) if len(folder.parts) >= 3]
    return []


def _left(host: Host, folder: Path) -> int | None:
    limit, used = host.number(folder / "memory.max"), host.number(folder / "memory.current")
    if limit is None or used is None:
        return None
    cached = 0  # pages of files, which the kernel takes back first
    for line in (host.text(folder / "memory.stat") or "").splitlines():
        if line.startswith("inactive_file "):
            cached = int(line.split()[1])
    return max(0, limit - used + cached)


def _field(host: Host, path: str, name: str) -> int | None:
    for line in (host.text(path) or "").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None
