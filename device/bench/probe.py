"""The measured process: opens one model in one runtime, answers with timings, and ends when its input closes.

Run as ``python -m skerry.device.bench.probe FD``. A job arrives as one JSON line on standard input, then any number of
bursts; answers go, one JSON object a line, to the file descriptor ``FD``, where no library's chatter can get between.

1. ``{"event": "hello"}`` once the interpreter is up; nothing heavy has been imported yet;
2. the job ``{"runtime", "file", "threads", "seed", "memory"}``: the memory limit is set, the runtime imported, the
   model loaded and run once; answer ``ready`` with the time of each;
3. a burst ``{"batch", "count", "least", "shortest", "seconds"}``: answer ``burst`` with every latency, and what a
   yardstick took before and after.

What goes wrong is an ``error`` with the stage at which it did; ``unsuitable`` when this file cannot be run in that way.
"""

import json
import os
import resource
import select
import sys
import time
from array import array
from pathlib import Path
from typing import Any, NoReturn

from skerry.device.bench.yardstick import yardstick

__all__ = ["main", "peak_rss"]

_POLL_S = 0.5


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes.

    ``getrusage`` would count the parent's memory too when the process was started by fork, hence the kernel's own
    figure where there is one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class _Probe:
    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._stage = "start"

    def say(self, event: str, **values: Any) -> None:
        data = json.dumps({"event": event, **values}).encode() + b"\n"
        while data:
            data = data[os.write(self._answers, data) :]

    def run(self) -> None:
        self.say("hello")
        job = _read()
        try:
            self._open(job)
            while True:
                self._burst(_read())
        except MemoryError as error:
            self._fail("memory", error)
        except ImportError as error:
            self._fail("missing", error)
        except Exception as error:  # noqa: BLE001 - a runtime may raise anything; all of it is sent to the parent, which tells the user
            kind = "unsuitable" if type(error).__name__ == "UnsuitableError" else "other"
            self._fail("memory" if "alloc" in str(error).lower() else kind, error)

    def _open(self, job: dict[str, Any]) -> None:
        self._stage = "import"
        if job["memory"] is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (job["memory"], job["memory"]))
        from skerry.device.bench.runners import open_model

        self._stage = "load"
        opened = open_model(job["runtime"], Path(job["file"]), job["threads"], job["seed"])
        self._stage = "first"
        self._call = opened.call
        once = opened.call(1)
        begin = time.perf_counter()
        once()
        first = time.perf_counter() - begin
        self.say(
            "ready",
            import_s=opened.import_s,
            load_s=opened.load_s,
            first_s=first,
            shape=opened.shape,
            peak_rss=peak_rss(),
        )

    def _burst(self, order: dict[str, Any]) -> None:
        self._stage = "burst"
        once = self._call(order["batch"])
        once()  # the first call of a new shape allocates
        ends, latencies = array("d"), array("d")  # eight bytes a number: what is noted must not count as memory
        before = yardstick()
        cpu, start = time.process_time(), time.perf_counter()
        polled = start
        while True:
            begin = time.perf_counter()
            once()
            end = time.perf_counter()
            latencies.append(end - begin)
            ends.append(end - start)
            if len(ends) >= order["count"] and ends[-1] >= order["shortest"]:
                break
            if len(ends) >= order["least"] and ends[-1] >= order["seconds"]:
                break
            if end - polled > _POLL_S:  # its parent may have gone, or wants it to stop
                polled = end
                if select.select([0], [], [], 0)[0]:
                    break
        spent = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
        yardsticks = (before, yardstick())
        told = {"latencies": latencies.tolist(), "ends": ends.tolist(), "yardsticks_s": yardsticks}
        self.say("burst", **told, **spent, peak_rss=peak_rss())

    def _fail(self, kind: str, error: BaseException) -> NoReturn:
        self.say("error", stage=self._stage, kind=kind, message=f"{type(error).__name__}: {error}"[:500])
        sys.exit(1)


def _read() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    order: dict[str, Any] = json.loads(line)
    return order


def main() -> None:
    """Serve the parent on the other end."""
    _Probe(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
