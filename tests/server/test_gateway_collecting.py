"""The gateway's process looks for cycles seldom, and finds them all the same."""

import subprocess
import sys

_SCRIPT = """
import gc, weakref
from skerry.server.gateway.collecting import collect_seldom

class Node: pass

def cycle():
    made = Node()
    made.itself = made
    return weakref.ref(made)

before = gc.get_threshold()
collect_seldom()
assert gc.get_freeze_count() > 10_000, "what was loaded is not looked through again"
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
first = cycle()
kept = [[] for _ in range(20_000)]
assert not looks and first() is not None, f"as often as before: {before}"
kept += [[] for _ in range(40_000)]
assert looks and first() is None
print("ok")
"""


def test_cycles_are_looked_for_seldom_and_found() -> None:
    found = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=180, check=False)
    assert found.stdout == "ok\n", found.stderr
