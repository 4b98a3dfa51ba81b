"""``skerry device run``: the resident agent."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, emit, note
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

if TYPE_CHECKING:
    from types import FrameType

    from skerry.device.agent.diary import Entry

__all__ = ["run"]


def run(
    *,
    home: HomeOption,
    key_file: KeyFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while it runs; see `status`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take part in the federation, as an agent that stays until Ctrl-C or SIGTERM.

    It outlives lost servers and networks, answers nobody but the federation's coordinator, and does what device.toml in
    the home allows.
    """
    from random import SystemRandom

    from skerry.clock import system_clock
    from skerry.device.agent.bell import Bell
    from skerry.device.agent.starting import started

    say = _nothing if quiet or as_json else _say
    with Bell() as bell, _ends(bell.ring):
        with started(
            home, lambda: open_store(home, key_file), bell, clock=system_clock, random=SystemRandom(), say=say
        ) as agent:
            agent.run()
        counts = agent.diary.counts
    if as_json:
        emit({"device": agent.home.device, "counts": counts})


@contextmanager
def _ends(ring: Callable[[], None]) -> Iterator[None]:
    """Within the block, the first SIGTERM or Ctrl-C rings; a second one ends the process at once."""

    def heard(number: int, frame: "FrameType | None") -> None:
        del frame
        ring()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(entry: "Entry") -> None:
    from skerry.wording import moment

    note().print(f"{moment(entry.at)}  {entry.event.value}: {entry.what}", soft_wrap=True)


def _nothing(entry: "Entry") -> None:
    del entry
