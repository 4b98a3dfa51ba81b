"""Another process that burns each core, as other apps on a device do."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from skerry.device.bench.helpers import helper, last_word

__all__ = ["Burning", "burning"]


@dataclass
class Burning:
    """Filled in when the block is left: how many cores' worth of time the burners took."""

    cores: tuple[int, ...]
    burnt_cores: float | None = field(default=None)


@contextlib.contextmanager
def burning() -> Iterator[Burning]:
    """Burn every core that this process may use, one process bound to each, until the block is left."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    state = Burning(tuple(usable))
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        burners = [stack.enter_context(helper("burner.py", str(core))) for core in state.cores]
        yield state
        wall = time.monotonic() - begin
        state.burnt_cores = sum(float(last_word(burner)) for burner in burners) / wall
