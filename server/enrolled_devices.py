"""Devices and other members in good standing, as the registry of a folder of runs knows them at this moment."""

import sqlite3
from collections.abc import Collection
from threading import Lock

from skerry.clock import Clock
from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server.devices import DEVICES, EnrolledDevice
from skerry.server.enrolment.certify import device_key_of
from skerry.server.registry.enrolled import State, enrolled
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.records import DeviceKind, Scope

__all__ = ["RegistryDevices"]


class RegistryDevices:
    """See :class:`~skerry.server.devices.Devices`; safe to use from several threads.

    What was read is kept until anybody changes the file, which SQLite tells on a connection that stays open (``PRAGMA
    data_version``), or puts another in its place, as a restored copy is. A revocation therefore counts at once, and a
    request costs microseconds instead of the 20 ms of a query.

    Args:
        registry: the file.
        federation: whose devices.
        clock: a certificate that has expired puts its device out.
    """

    def __init__(self, registry: RegistryFile, federation: str, clock: Clock) -> None:
        registry.ensure()
        self._file = registry
        self._scope = Scope(DeviceKind.REAL, federation)
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, tuple[EnrolledDevice, int] | None] = {}
        self._version = -1
        self._open()

    def find(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """The holder of that name in one of the roles, enrolled under a certificate that holds now.

        Raises:
            RegistryError: the registry cannot be read.
        """
        with self._lock:
            try:
                if self._place() != self._opened:
                    self._watch.close()
                    self._open()
                ((version,),) = self._watch.execute("PRAGMA data_version").fetchall()
                if version != self._version:
                    self._known.clear()
                    self._version = version
                if name not in self._known:
                    # A name that nobody has costs no more than this, and is not kept: anybody can invent some.
                    if self._watch.execute("SELECT 1 FROM device WHERE name = ?", (name,)).fetchone() is None:
                        return None
                    self._known[name] = self._read(name)
            except (OSError, sqlite3.Error) as error:
                raise RegistryError(f"the registry cannot be read: {error}", where=str(self._file.path)) from error
            found = self._known[name]
        if found is None or self._clock() >= found[1] or found[0].role not in roles:
            return None
        return found[0]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._watch.close()

    def _open(self) -> None:
        place = self._place()
        self._watch = sqlite3.connect(
            f"{self._file.path.resolve().as_uri()}?mode=rw", uri=True, check_same_thread=False, isolation_level=None
        )
        self._opened = place  # last: if that failed, the next call tries again
        self._version = -1
        self._known.clear()

    def _place(self) -> tuple[int, int]:
        """Which file it is."""
        found = self._file.path.stat()
        return found.st_dev, found.st_ino

    def _read(self, name: str) -> tuple[EnrolledDevice, int] | None:
        """Who it is, and until when (ms) the certificate holds."""
        with self._file.reading() as base:
            entries = enrolled(base, scope=self._scope, name=name)
        for entry in entries:
            if entry.state is State.ENROLLED and entry.certificate is not None:
                return EnrolledDevice(name, device_key_of(entry), entry.role), entry.certificate.expires
        return None
