"""The servers of a federation that run on this machine: who runs them, where they answer, and how they are ended."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from skerry.errors import RunFailedError
from skerry.fsio import write_json
from skerry.security.locking import is_held

__all__ = ["RunningServer"]

_END_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True)
class RunningServer:
    """One ``skerry server up``.

    Attributes:
        pid: of its process.
        born: which process of that number, as the system tells them apart; a number that is used again is not taken for
            it, and a clock that was set does not hide it.
        federation: whose.
        since: ms since the epoch.
        addresses: ``host:port`` of ``gateway``, ``enrolment``, ``devices``, ``superlink``.
        certificate_until: when the certificate that the servers show ends, ms.
        superlink_authority: PEM file of the authority of the SuperLink's certificate.
        superlink_secret: file of the secret with which a coordinator claims its run's task from the SuperLink; only
            the servers' owner can read it.
        repository: folder of releases that the gateway serves.
    """

    pid: int
    born: str
    federation: str
    since: int
    addresses: Mapping[str, str]
    certificate_until: int
    superlink_authority: str
    superlink_secret: str
    repository: str

    @staticmethod
    def read(path: Path) -> "RunningServer | None":
        """The server that is noted there, if it runs; ``None`` otherwise.

        It does when its process lives, or when somebody holds the note's lock: numbers of processes say nothing across
        containers, which see the same folder.
        """
        try:
            value = json.loads(path.read_bytes())
            noted = RunningServer(**value)
        except (OSError, ValueError, TypeError):
            return None
        return noted if noted.alive or is_held(path) else None

    @staticmethod
    def ourselves() -> tuple[int, str]:
        """This process's number, and what tells it from others of that number."""
        born = _born(os.getpid())
        assert born is not None
        return os.getpid(), born

    @property
    def alive(self) -> bool:
        """Whether its process is at work, as far as this container sees."""
        return _born(self.pid) == self.born

    def write(self, path: Path) -> None:
        """Note it; whoever may read the folder may see it."""
        write_json(path, asdict(self), durable=False)

    def stop(self) -> None:
        """Ask it to end, and wait until it has.

        Raises:
            RunFailedError: it is not ours to end, or still runs after half a minute.
        """
        if not self.alive:
            return
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise RunFailedError(
                f"the server (process {self.pid}) is another user's", mend="stop it as that user"
            ) from error
        deadline = time.monotonic() + _END_S
        while self.alive:
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"the server (process {self.pid}) still runs after {_END_S:.0f} s", mend="see its log"
                )
            time.sleep(_POLL_S)


def _born(pid: int) -> str | None:
    """What a process that is at work has in common with no other of its number; ``None`` when there is none.

    Linux counts ticks since the boot. As a time of day, which psutil makes of them, they change when the clock is set.
    """
    try:
        if sys.platform == "linux":
            state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            return None if state in "ZX" else f"{boot}/{fields[18]}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except (OSError, psutil.Error):
        return None
