"""A process of its own that ends its siblings when their parent dies without saying so.

Run as a script, with nothing but the standard library. It reads lines from standard input: a number is the leader of a
process group to watch over, ``done`` means that the parent has ended them itself. When the input ends without ``done``,
the parent is dead, and these groups are ended.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 5.0


def _signal(groups: Iterable[int], number: int) -> list[int]:
    """Send to all; returns the groups that exist."""
    there = []
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
            there.append(group)
    return there


def guard(lines: Iterable[str], *, grace_s: float = GRACE_S) -> None:
    """Watch until the input ends; see the module."""
    groups = []
    for line in lines:
        if line.strip() == "done":
            return
        groups.append(int(line))
    groups = _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = _signal(groups, 0)
    _signal(groups, signal.SIGKILL)


if __name__ == "__main__":
    guard(sys.stdin)
