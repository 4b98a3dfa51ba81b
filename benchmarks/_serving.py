"""A server of a benchmark in a process of its own, for as long as a block lasts."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _harness import HERE, PYTHON, QUIET, NotMeasuredError

_START_S = 60
_END_S = 30


@contextmanager
def serving(script: str, *arguments: str | Path, ready: Path) -> Iterator[subprocess.Popen]:
    """Run a program beside this file until the block ends: its standard input then ends, on which it leaves.

    Args:
        script: its file's name.
        arguments: of the program.
        ready: the file that it makes when it serves; its log is written beside it.

    Raises:
        NotMeasuredError: it ended or did not begin to serve.
    """
    log_file = ready.with_name("server.log")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, HERE / script, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **QUIET},
        )
        try:
            deadline = time.monotonic() + _START_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotMeasuredError(f"{script}: {log_file.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
