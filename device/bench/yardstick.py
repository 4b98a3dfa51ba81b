"""A piece of work that is always the same: how long it takes says how quick the processor is at the moment.

On a virtual machine a neighbour may share the core, its caches or its power: the clock of the process's own CPU time
runs on, nothing is counted as stolen, and everything takes up to twice as long. Other work on the same core at the same
moment is what shows it. Nothing is imported, so that a measured process may use it before its runtime is there.
"""

import time

__all__ = ["yardstick"]

_ROUNDS = 1500  # some 50 µs: short beside a block of calls, long beside the clock's own cost


def yardstick() -> float:
    """Seconds that the piece of work takes now."""
    begun, total = time.perf_counter(), 0
    for i in range(_ROUNDS):
        total += i & 7
    return time.perf_counter() - begun
