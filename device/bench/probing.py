"""The other end of a measured process: starts it, orders bursts, and ends it by its own handle."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from skerry.errors import InputError, MissingDependencyError, RunFailedError

__all__ = ["Burst", "Job", "Opening", "Probe", "ProbeDied"]

PATIENCE_S = 300.0
"""How long an answer may take beyond the time that a burst was ordered to last."""


@dataclass(frozen=True)
class Job:
    """What a process is to open.

    Attributes:
        runtime: a name of :data:`skerry.device.bench.runners.RUNTIMES`.
        file: what it opens.
        threads: that it may use for one call.
        memory: limit of its private writable memory in bytes, or None.
        seed: of the noise it is fed.
    """

    runtime: str
    file: Path
    threads: int = 1
    memory: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Opening:
    """A cold start, from nothing to the first answer, in seconds.

    Attributes:
        start_s: the interpreter.
        import_s: the runtime.
        load_s: the model.
        first_s: the first inference.
        peak_rss: bytes resident at most until then.
        shape: of one example, ``(channels, height, width)``.
    """

    start_s: float
    import_s: float
    load_s: float
    first_s: float
    peak_rss: int
    shape: tuple[int, ...]

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.start_s + self.import_s + self.load_s + self.first_s


@dataclass(frozen=True)
class Burst:
    """Calls one after the other.

    Attributes:
        latencies: of each call, in seconds.
        ends: when each ended, in seconds from the start of the burst.
        wall_s: of the burst.
        cpu_s: that the process used in it.
        peak_rss: bytes resident at most since the process started.
        yardsticks_s: what :func:`~skerry.device.bench.yardstick.yardstick` took before and after it.
    """

    latencies: tuple[float, ...]
    ends: tuple[float, ...]
    wall_s: float
    cpu_s: float
    peak_rss: int
    yardsticks_s: tuple[float, float]

    @property
    def cpu_share(self) -> float:
        """CPU time over wall time: 1 is a whole core."""
        return self.cpu_s / self.wall_s


class ProbeDied(Exception):  # noqa: N818 - no error by itself: under a memory limit, the death is the answer
    """The measured process ended or gave up."""

    def __init__(self, kind: str, stage: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.stage = stage
        self.message = message

    def error(self, job: Job) -> Exception:
        """The same for a person, where nothing explains it but the model or the machine."""
        where = f"{job.file.name} in {job.runtime}"
        if self.kind == "missing":
            extra = {"executorch": "export", "torch": "train"}.get(job.runtime, "device")
            return MissingDependencyError(self.message, where=where, mend=f"pip install 'skerry[{extra}]'")
        if self.kind == "unsuitable":
            return InputError(self.message, where=where, mend="measure it in another runtime or another way")
        if self.stage == "load" and self.kind == "other":
            return InputError(
                f"{job.runtime} cannot read the model: {self.message}", where=str(job.file), mend="export it again"
            )
        return RunFailedError(f"the measured process failed ({self.stage}): {self.message}", where=where)


class Probe:
    """A measured process; leaving the block ends it, also after Ctrl-C."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._answers = reading
        self._buffer = b""
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it outlives this call; Probe closes it when its block is left
        self._begun = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-P", "-m", "skerry.device.bench.probe", str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(writing,),
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches us alone, and we end it
            )
        finally:
            os.close(writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10 if kind is None else 0.2)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        os.close(self._answers)
        self._stderr.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def up(self) -> float:
        """Wait for the interpreter; seconds since the process was started."""
        self._answer("hello", PATIENCE_S)
        return time.monotonic() - self._begun

    def open(self, job: Job, *, start_s: float) -> Opening:
        """Open the model and run it once.

        Raises:
            ProbeDied: it could not.
        """
        self._order(runtime=job.runtime, file=str(job.file), threads=job.threads, memory=job.memory, seed=job.seed)
        told = self._answer("ready", PATIENCE_S)
        return Opening(
            start_s, told["import_s"], told["load_s"], told["first_s"], told["peak_rss"], tuple(told["shape"])
        )

    def burst(
        self, *, batch: int = 1, count: int, shortest: float = 0.0, least: int = 1, seconds: float = float("inf")
    ) -> Burst:
        """Run the model again and again.

        Args:
            batch: examples in one call.
            count: calls after which it ends,
            shortest: but not before so many seconds.
            least: calls after which it ends too
            seconds: once so many seconds are over.

        Raises:
            ProbeDied: it could not.
        """
        endless = seconds == float("inf")
        self._order(batch=batch, count=count, shortest=shortest, least=least, seconds=1e9 if endless else seconds)
        told = self._answer("burst", PATIENCE_S + (0 if endless else seconds))
        return Burst(
            tuple(told["latencies"]),
            tuple(told["ends"]),
            told["wall_s"],
            told["cpu_s"],
            told["peak_rss"],
            (told["yardsticks_s"][0], told["yardsticks_s"][1]),
        )

    def _order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self, event: str, patience: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while b"\n" not in self._buffer:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RunFailedError(f"the measured process gave no answer for {patience:.0f} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise self._died()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        if told["event"] == "error":
            raise ProbeDied(told["kind"], told["stage"], told["message"])
        assert told["event"] == event, told
        return told

    def _died(self) -> ProbeDied:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ProbeDied("died", "", ": ".join([how, *lines[-1:]])[:500])


def _environment() -> dict[str, str]:
    """Ours, with every thread pool that a library opens by itself held to one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
