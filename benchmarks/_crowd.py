"""A run of many devices that have next to nothing to do, whole. Prints where its seconds go.

Usage: ``python _crowd.py DEVICES FOLDER PROCESSES``. The base is built, or found, before the clock starts.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _crowd_task import scenario

from skerry.device.local_model import build_local_model
from skerry.device.worker import process_worker
from skerry.server import conduct, launch


def main() -> None:
    devices, parent, processes = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    asked = scenario(devices)
    task = process_worker().task(asked.task, asked.model)
    build_local_model(asked.model, task)
    spent: dict[str, float] = {}
    for module, name in (
        (launch, "prepare"),
        (conduct, "discover"),
        (conduct, "run_rounds"),
        (conduct, "finish"),
        (conduct, "report"),
    ):
        setattr(module, name, _timed(getattr(module, name), name, spent))
    begin = time.perf_counter()
    folder = launch.launch(asked, engine="inprocess", parent=parent, processes=processes)
    whole = time.perf_counter() - begin
    records = folder.rounds()
    stages = {stage: sum(record.seconds[stage] for record in records) for stage in records[-1].seconds}
    print(
        json.dumps(
            {
                "devices": devices,
                "rounds": len(records),
                "accepted": min(len(record.accepted) for record in records),
                "whole_s": whole,
                "spent_s": spent,
                "stages_s": stages,
                "bytes_up": records[-1].bytes_up,
            }
        )
    )


def _timed(plain: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return plain(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - begin

    return timed


if __name__ == "__main__":
    main()
