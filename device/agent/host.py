"""The machine that a device lives on, as far as it is looked at: files of the kernel, commands, time.

All of it is passed in, so that a test can hold heat, battery and network in its hands.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

__all__ = ["Host", "Remembering", "run_command"]

_COMMAND_S = 0.5
_HOLDS_S = 0.8  # with a look every half second, a change is seen within 1.8 s, a slow command included


def run_command(*words: str) -> str | None:
    """What a command prints; None where there is no such command, or it fails, or takes longer than half a second."""
    program = shutil.which(words[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - no shell; callers pass words from their own source, never input
            [program, *words[1:]], capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


class Remembering:
    """Commands whose answers hold for most of a second: to start one takes far more than to read a file.

    Args:
        run: what runs them.
        monotonic: seconds that never go back.
    """

    def __init__(
        self, run: Callable[..., str | None] = run_command, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._monotonic = run, monotonic
        self._known: dict[tuple[str, ...], tuple[float, str | None]] = {}

    def __call__(self, *words: str) -> str | None:
        """See :func:`run_command`."""
        known = self._known.get(words)
        if known is None or self._monotonic() - known[0] >= _HOLDS_S:
            answer = self._run(*words)  # how long it takes is part of how old it is
            known = self._known[words] = (self._monotonic(), answer)
        return known[1]


def _own_cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _disk(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists()))
    return usage.free, usage.total


@dataclass(frozen=True)
class Host:
    """Where to look.

    Attributes:
        root: in which ``proc`` and ``sys`` lie.
        run: a command's output, or None; see :func:`run_command`.
        disk: bytes that are free and bytes in all where a folder lies or will lie.
        own_cpu_s: processor time that this process has had, seconds.
        monotonic: seconds that never go back.
        local: the local time of day.
    """

    root: Path = Path("/")
    run: Callable[..., str | None] = field(default_factory=Remembering)
    disk: Callable[[Path], tuple[int, int]] = _disk
    own_cpu_s: Callable[[], float] = _own_cpu_s
    monotonic: Callable[[], float] = time.monotonic
    local: Callable[[], datetime] = field(default=lambda: datetime.now().astimezone())

    def text(self, path: Path | str) -> str | None:
        """A small file of the kernel without its last newline; None where it is not there or cannot be read."""
        try:
            return (self.root / path).read_text("utf-8", errors="replace").strip()
        except OSError:
            return None

    def number(self, path: Path | str) -> int | None:
        """The whole number in such a file."""
        text = self.text(path)
        return int(text) if text is not None and text.removeprefix("-").isdigit() else None
