"""A process of many devices looks for cycles seldom, and finds them all the same."""

import subprocess
import sys

_SCRIPT = """
import gc, weakref
from skerry.collecting import collecting_seldom

class Node: pass

def cycle():
    made = Node()
    made.itself = made
    return weakref.ref(made)

before = gc.get_threshold()
frozen = gc.get_freeze_count()
first_block, second_block = (collecting_seldom(50_000, 10, 10) for _ in range(2))
first_block.__enter__()
assert gc.get_freeze_count() > frozen, "what was loaded is not looked through again"
loaded = [[] for _ in range(1_000)]
frozen_first = gc.get_freeze_count()
second_block.__enter__()
assert gc.get_freeze_count() >= frozen_first + 1_000, "nor is what was loaded since"
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
first = cycle()
kept = [[] for _ in range(20_000)]
assert not looks and first() is not None, f"as often as before: {before}"
kept += [[] for _ in range(40_000)]
assert looks and first() is None
first_block.__exit__(None, None, None)
assert gc.get_threshold() == (50_000, 10, 10), "the other is not over"
second_block.__exit__(None, None, None)
assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)
print("ok")
"""


def test_cycles_are_looked_for_seldom_and_found() -> None:
    found = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=180, check=False)
    assert found.stdout == "ok\n", found.stderr
