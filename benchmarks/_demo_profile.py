"""The default scenario in one process, with a stopwatch on each kind of work inside the loop of rounds.

Usage: ``python _demo_profile.py FOLDER``. Prints seconds by kind of work; each is exclusive: sealing inside a stage
counts as sealing, not as the stage. What the main thread does and waits for is counted; other threads only wait for
the disk.
"""

import functools
import importlib
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.config import default_scenario
from skerry.server.launch import launch

LOOP = "skerry.server.conduct:run_rounds"
WORK = {
    # Features of the device's data through the int8 base, computed when it first trains, and the noise are part of it.
    "training": ["skerry.device.participation:_train"],
    "evaluation": ["skerry.server.rounds:evaluate_held_out"],
    "aggregation": ["skerry.server.rounds:aggregate"],
    "screening": ["skerry.server.rounds:validate", "skerry.server.rounds:screen"],
    "envelopes": [
        "skerry.server.sealing:seal_named",
        "skerry.device.participation:open_envelope",
        "skerry.device.participation:seal",
        "skerry.server.opening:open_envelope",
    ],
    "ledgers": [
        "skerry.security.privacy.ledger:Ledger.open",
        "skerry.security.privacy.ledger:Ledger._append",
        "skerry.security.privacy.ledger:Ledger._take_in",
        "skerry.security.privacy.ledger:Ledger.untouched",
        "skerry.security.privacy.ledger:Ledger._settle",
    ],
    "checkpoint": [
        "skerry.runfolder:RunFolder.mark",
        "skerry.syncer:Syncer.settle",
    ],
}


Function = Callable[..., Any]


class Stopwatch:
    """Exclusive seconds by kind of work, while the loop runs."""

    def __init__(self) -> None:
        self.loop_s = 0.0
        self.seconds = dict.fromkeys(WORK, 0.0)
        self._inner: list[float] = []  # seconds spent in timed calls below each open one

    def loop(self, function: Function) -> Function:
        @functools.wraps(function)
        def timed(*arguments: object, **named: object) -> object:
            self._inner.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.loop_s += time.perf_counter() - begin
                self._inner.pop()

        return timed

    def work(self, kind: str, function: Function) -> Function:
        @functools.wraps(function)
        def timed(*arguments: object, **named: object) -> object:
            if not self._inner or threading.current_thread() is not threading.main_thread():
                return function(*arguments, **named)
            self._inner.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.perf_counter() - begin
                self.seconds[kind] += spent - self._inner.pop()
                self._inner[-1] += spent

        return timed


def replace(place: str, wrap: Callable[[Function], Function]) -> None:
    """Put ``wrap(function)`` where ``module:name`` or ``module:Class.name`` is looked up."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    holder = importlib.import_module(module)
    for owner in owners:
        holder = getattr(holder, owner)
    wrapped = wrap(getattr(holder, name))
    static = isinstance(inspect.getattr_static(holder, name), staticmethod)
    setattr(holder, name, staticmethod(wrapped) if static else wrapped)


def main() -> None:
    watch = Stopwatch()
    replace(LOOP, watch.loop)
    for kind, places in WORK.items():
        for place in places:
            replace(place, functools.partial(watch.work, kind))
    folder = launch(default_scenario(["report.references=false"]), engine="inprocess", parent=Path(sys.argv[1]))
    print(json.dumps({"loop_s": watch.loop_s, "seconds": watch.seconds, "rounds": len(folder.rounds())}))


if __name__ == "__main__":
    main()
