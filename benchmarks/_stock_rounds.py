"""The same rounds by stock Flower: ``python _stock_rounds.py FOLDER DEVICES BYTES ROUNDS``; prints seconds a round."""

import json
import sys
import time
from pathlib import Path

from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.engine import Components
from skerry.server.engines.processes import Children

LONGEST_S = 400.0


def main(folder: Path, devices: int, size: int, rounds: int) -> None:
    private, logs, told = folder / "private", folder / "logs", folder / "seconds.json"
    private.mkdir(mode=0o700)
    logs.mkdir()
    with Children() as children:
        deployment = Deployment(private, logs, children)
        deployment.start([{"device": number} for number in range(devices)])
        app = write_bundle(private / "app", Components("_stock_apps:server", "_stock_apps:client"))
        with deployment.control() as control:
            number = control.start(app, {"run": str(told), "overrides": f"{devices} {size} {rounds}"})
            deadline = time.monotonic() + LONGEST_S
            while not (status := control.status(number)).finished and time.monotonic() < deadline:
                children.check()
                time.sleep(0.5)
    if not told.exists():
        raise SystemExit(f"stock Flower did not finish: {status.details}")
    print(json.dumps({"seconds": json.loads(told.read_text())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
