"""The agent of ``skerry device run`` in this process, for benchmarks that put something beside its work."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from skerry.cli.keystore_options import open_store
from skerry.clock import system_clock
from skerry.device.agent.agent import Agent
from skerry.device.agent.bell import Bell
from skerry.device.agent.conditions import AlwaysFit
from skerry.device.agent.diary import Entry
from skerry.device.agent.starting import started


@contextmanager
def agent_here(home: Path, key_file: Path, say: Callable[[Entry], None]) -> Iterator[Agent]:
    """An enrolled device's agent, ready to run; SIGTERM ends it.

    It works whatever else this machine does, and however small its disk is.
    """
    with Bell() as bell:
        signal.signal(signal.SIGTERM, lambda *_: bell.ring())
        with started(
            home,
            lambda: open_store(home, key_file),
            bell,
            clock=system_clock,
            random=SystemRandom(),
            say=say,
            conditions=AlwaysFit(),
        ) as agent:
            yield agent
