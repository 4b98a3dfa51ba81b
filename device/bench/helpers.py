"""Starting the small processes that bring a condition about, and ending each by its own handle."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from skerry.errors import RunFailedError

__all__ = ["helper", "last_word"]


@contextlib.contextmanager
def helper(script: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a script of this folder until the block is left, however it is left.

    The script prints one line once it is at work; it ends when its standard input closes. It leads a session of its
    own, so that Ctrl-C reaches us alone and we end it.

    Raises:
        RunFailedError: it did not come to work.
    """
    process = subprocess.Popen(  # noqa: S603 - no shell; the program is this interpreter, the script lies beside this file
        [sys.executable, "-S", "-E", str(Path(__file__).with_name(script)), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RunFailedError(f"the process {script} did not start", where=script)
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        process.stdout.close()


def last_word(process: "subprocess.Popen[bytes]") -> str:
    """Tell a helper to end, and what it says on the way out."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    return process.stdout.readline().decode().strip()
