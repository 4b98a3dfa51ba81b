"""How often Python looks for cycles in the gateway's process: seldom.

Python looks through everything again whenever a quarter more has outlived its first looks, and each request that waits
at the bell does: with thousands of devices that took a seventh of the gateway's processor, in pauses of a quarter of a
second and more in which nobody was answered. Nearly all of it is freed without, by its count of references.
"""

import gc

__all__ = ["collect_seldom"]

_NEW_OBJECTS = 50_000  # more than were freed since; Python's own is 700. Cycles hold some 10 MB until then


def collect_seldom() -> None:
    """From now on, for the whole process; what it has loaded so far is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
