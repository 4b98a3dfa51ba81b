"""A process that lets another one run for a share of the time only, by stopping and continuing it.

Run as a script, with nothing but the standard library: ``governor.py PID SHARE PERIOD_S``. It ends when its standard
input closes, as it does when the process that started it dies, leaves the governed process running, and prints the
seconds for which it kept it stopped.
"""

import contextlib
import os
import select
import signal
import sys
import time


def govern(pid: int, share: float, period: float) -> float:
    """Stop and continue ``pid`` until the input closes or it is gone; returns the seconds that it was stopped."""
    sys.stdout.write("governing\n")  # the parent waits for this line
    sys.stdout.flush()
    stopped = 0.0
    with contextlib.suppress(ProcessLookupError):
        try:
            while not _told_to_end(period * share):
                begin = time.monotonic()
                os.kill(pid, signal.SIGSTOP)
                ended = _told_to_end(period * (1 - share))
                os.kill(pid, signal.SIGCONT)
                stopped += time.monotonic() - begin
                if ended:
                    break
        finally:
            os.kill(pid, signal.SIGCONT)
    return stopped


def _told_to_end(seconds: float) -> bool:
    """Wait so long, or until the input closes."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    sys.stdout.write(f"{govern(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))}\n")
