"""The servers of a federation that run on this machine: who runs them, where they answer, and how they are ended."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from skerry.errors import RunFailedError
from skerry.fsio import write_json

__all__ = ["RunningServer"]

_END_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True)
class RunningServer:
    """One ``skerry server up``.

    Attributes:
        pid: of its process.
        born: when the process was started, as the system has it; a number that is used again is not taken for it.
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
    born: float
    federation: str
    since: int
    addresses: Mapping[str, str]
    certificate_until: int
    superlink_authority: str
    superlink_secret: str
    repository: str

    @staticmethod
    def read(path: Path) -> "RunningServer | None":
        """The server that is noted there, if its process lives; ``None`` otherwise."""
        try:
            value = json.loads(path.read_bytes())
            noted = RunningServer(**value)
            process = psutil.Process(noted.pid)
            alive = process.create_time() == noted.born and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, TypeError, psutil.Error):
            return None
        return noted if alive else None

    @staticmethod
    def ourselves() -> tuple[int, float]:
        """This process's number, and when it was started."""
        process = psutil.Process(os.getpid())
        return process.pid, process.create_time()

    def write(self, path: Path) -> None:
        """Note it; whoever may read the folder may see it."""
        write_json(path, asdict(self), durable=False)

    def stop(self) -> None:
        """Ask it to end, and wait until it has.

        Raises:
            RunFailedError: it is not ours to end, or still runs after half a minute.
        """
        try:
            process = psutil.Process(self.pid)
            if process.create_time() != self.born:
                return
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _END_S
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    raise RunFailedError(
                        f"the server (process {self.pid}) still runs after {_END_S:.0f} s", mend="see its log"
                    )
                time.sleep(_POLL_S)
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise RunFailedError(
                f"the server (process {self.pid}) is another user's", mend="stop it as that user"
            ) from error
