"""A process that burns one core until its standard input closes, then prints the CPU seconds that it has burnt.

Run as a script, with nothing but the standard library: ``burner.py CORE``. When the process that started it dies, its
input closes too, so it cannot outlive it.
"""

import os
import select
import sys
import time


def burn(core: int) -> float:
    """Compute until the input closes; returns CPU seconds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    begin = time.process_time()
    sys.stdout.write("burning\n")  # the parent waits for this line
    sys.stdout.flush()
    number = 1
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(20_000):
            number = number * 1103515245 % 2147483648 + 1
    return time.process_time() - begin


if __name__ == "__main__":
    sys.stdout.write(f"{burn(int(sys.argv[1]))}\n")
