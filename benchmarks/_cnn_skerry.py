"""The task on skerry, whole: from a scenario to the delivered model and the report. Prints milliseconds per round.

Usage: ``python _cnn_skerry.py ENGINE FOLDER PROCESSES``.
"""

import itertools
import json
import sys
from pathlib import Path

from _cnn_task import scenario

from skerry.server.launch import launch


def main() -> None:
    engine, parent, processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    folder = launch(scenario(), engine=engine, parent=parent, processes=processes)
    records = folder.rounds()
    finished = [record.finished_ms for record in records]
    print(
        json.dumps(
            {
                # Wall clock from one round's end to the next: everything is in it, also what no stage counts.
                "rounds_ms": [after - before for before, after in itertools.pairwise(finished)],
                "stages_ms": {
                    stage: 1e3 * sum(r.seconds[stage] for r in records[1:]) / (len(records) - 1)
                    for stage in records[-1].seconds
                },
                "accuracy": records[-1].accuracy,
                "bytes_up": records[-1].bytes_up,
            }
        )
    )


if __name__ == "__main__":
    main()
