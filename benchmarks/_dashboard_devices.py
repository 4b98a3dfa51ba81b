"""Agents of enrolled devices, a thread each, in one process: ``python _dashboard_devices.py KEY_FILE HOME…``.

They are the agents of ``skerry device run`` with the real app; they share this process's memory of base and data, so
that twenty of them find room on a small machine. Ends on SIGTERM.
"""

import signal
import sys
import threading
from pathlib import Path
from random import SystemRandom

from skerry.cli.keystore_options import open_store
from skerry.clock import system_clock
from skerry.device.agent.bell import Bell
from skerry.device.agent.conditions import AlwaysFit
from skerry.device.agent.starting import started


def _run(home: Path, key_file: Path, bell: Bell) -> None:
    with started(
        home,
        lambda: open_store(home, key_file),
        bell,
        clock=system_clock,
        random=SystemRandom(),
        say=lambda entry: print(home.name, entry, flush=True),
        conditions=AlwaysFit(),  # whatever else this machine does, and however small its disk is
    ) as agent:
        agent.run()


def main(key_file: Path, homes: list[Path]) -> None:
    bells = [Bell() for _ in homes]
    signal.signal(signal.SIGTERM, lambda *_: [bell.ring() for bell in bells])
    given = zip(homes, bells, strict=True)
    threads = [threading.Thread(target=_run, args=(home, key_file, bell)) for home, bell in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
