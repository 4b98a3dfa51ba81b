"""Devices and other members in good standing, as the registry of a folder of runs knows them at this moment."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Lock

from skerry.clock import Clock
from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server.devices import DEVICES, EnrolledDevice
from skerry.server.enrolment.certify import device_key_of
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.enrolled import State, enrolled
from skerry.server.registry.records import DeviceKind, Scope

__all__ = ["RegistryDevices"]

_TURN_S = 4.0  # for others who ask: where the registry hangs nobody waits behind everybody


class RegistryDevices:
    """See :class:`~skerry.server.devices.Devices`; safe to use from several threads.

    What was read is kept until anybody changes the registry (:class:`~skerry.server.registry.database.Watch`). A
    revocation therefore counts at once, and a request costs no query of 20 ms.

    Args:
        registry: the database.
        federation: whose devices.
        clock: a certificate that has expired puts its device out.
    """

    def __init__(self, registry: RegistryDatabase, federation: str, clock: Clock) -> None:
        registry.ensure()
        self._registry = registry
        self._scope = Scope(DeviceKind.REAL, federation)
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, tuple[EnrolledDevice, int] | None] = {}
        self._watch = registry.watch()

    def find(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """The holder of that name in one of the roles, enrolled under a certificate that holds now.

        Raises:
            RegistryError: the registry cannot be read, or not within some seconds.
        """
        with self._turn():
            if self._watch.changed():
                self._known.clear()
            if name not in self._known:
                # A name that nobody has costs no more than this, and is not kept: anybody can invent some.
                if not self._watch.knows(name):
                    return None
                self._known[name] = self._read(name)
            found = self._known[name]
        if found is None or self._clock() >= found[1] or found[0].role not in roles:
            return None
        return found[0]

    def close(self) -> None:
        """Let go of the registry."""
        with self._lock:
            self._watch.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time, and not after everybody else where each of them waits for an answer that does not come."""
        if not self._lock.acquire(timeout=_TURN_S):
            raise RegistryError(
                "the registry does not answer: others wait for it already",
                where=self._registry.where,
                mend="see that its database runs and answers",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _read(self, name: str) -> tuple[EnrolledDevice, int] | None:
        """Who it is, and until when (ms) the certificate holds."""
        for entry in self._registry.read(lambda base: enrolled(base, scope=self._scope, name=name)):
            if entry.state is State.ENROLLED and entry.certificate is not None:
                return EnrolledDevice(name, device_key_of(entry), entry.role), entry.certificate.expires
        return None
