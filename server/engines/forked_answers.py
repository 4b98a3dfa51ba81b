"""What the processes of a run say to the one that forked them: which has something to say, and what."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from skerry.canonical import decode
from skerry.error_records import heard
from skerry.errors import RunFailedError
from skerry.forked_pipe import ForkedPipe

__all__ = ["ending_told", "heard_from", "ready"]


def ready(under_way: Iterable[ForkedPipe]) -> Iterator[ForkedPipe]:
    """Those of the pipes that have something to say, of which there is at least one."""
    by_number = {pipe.fileno(): pipe for pipe in under_way}
    for number in wait(list(by_number)):
        assert isinstance(number, int)
        yield by_number[number]


def heard_from(pipe: ForkedPipe) -> Any:
    """What a process says of what it was asked.

    Raises:
        RunFailedError: it failed with a fault of the program's own.
        SkerryError: what a chore raised of them.
    """
    said = decode(pipe.recv_bytes())
    if "failure" in said:
        raise RunFailedError(
            f"a process that answered for devices failed: {said['failure']}",
            mend="its log, on standard error, has the whole story; run the scenario again",
        )
    if "refused" in said:
        raise heard(said["refused"])
    return said


@contextmanager
def ending_told() -> Iterator[None]:
    """That a process has ended is raised as RunFailedError, which says what to do."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RunFailedError(
            "a process that answered for devices has ended",
            mend="look for a lack of memory in the system's log; `skerry run --resume` goes on with the run, or "
            "says what of it was kept nowhere",
        ) from error
