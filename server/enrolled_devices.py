"""Devices and other members in good standing, as the registry of a folder of runs knows them at this moment."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Lock

from skerry.clock import Clock
from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server.devices import DEVICES, EnrolledDevice
from skerry.server.enrolment.certify import device_key_of
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.enrolled import State, enrolled, enrolled_names
from skerry.server.registry.records import DeviceKind, Scope

__all__ = ["RegistryDevices"]

_TOGETHER = 64  # read in one query: 0.1 ms each, where one alone takes 2.7
_TURN_S = 4.0  # for others who ask: where the registry hangs nobody waits behind everybody

_Found = tuple[EnrolledDevice, int] | None


class RegistryDevices:
    """See :class:`~skerry.server.devices.Devices`; safe to use from several threads.

    What was read is kept until anybody changes the registry (:class:`~skerry.server.registry.database.Watch`). A
    revocation therefore counts at once, and a request costs no query of 20 ms. At first and after a change, whoever is
    asked for is read together with others who will be: thousands of devices come back within seconds.

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
        self._known: dict[str, _Found] = {}
        self._watch = registry.watch()
        names = registry.read(lambda base: enrolled_names(base, self._scope))
        self._before = dict.fromkeys(names)  # names that will be asked for, and were not read since the last change

    def find(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """The holder of that name in one of the roles, enrolled under a certificate that holds now.

        Raises:
            RegistryError: the registry cannot be read, or not within some seconds.
        """
        with self._turn():
            self._look()
            if name not in self._known:
                # A name that nobody has costs no more than this, and is not kept: anybody can invent some.
                if not self._watch.knows(name):
                    return None
                self._read({name, *islice(self._before, _TOGETHER - 1)})
            return self._standing(self._known[name], roles)

    def at_once(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """See :class:`~skerry.server.devices.Devices`: of who was read since a registry in a file was changed last."""
        if not self._watch.at_once or not self._lock.acquire(blocking=False):
            return None
        try:
            self._look()
            return self._standing(self._known.get(name), roles)
        except RegistryError:
            return None
        finally:
            self._lock.release()

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

    def _look(self) -> None:
        """Forget what was read before somebody changed the registry, and names of who was no member."""
        if self._watch.changed():
            self._before |= dict.fromkeys(name for name, found in self._known.items() if found is not None)
            self._known.clear()

    def _standing(self, found: _Found, roles: Collection[Role]) -> EnrolledDevice | None:
        if found is None or self._clock() >= found[1] or found[0].role not in roles:
            return None
        return found[0]

    def _read(self, names: Collection[str]) -> None:
        """Who they are, and until when (ms) their certificates hold."""
        found: dict[str, _Found] = dict.fromkeys(names)
        for entry in self._registry.read(lambda base: enrolled(base, scope=self._scope, names=names)):
            name = entry.device.name
            if entry.state is State.ENROLLED and entry.certificate is not None and found[name] is None:
                found[name] = EnrolledDevice(name, device_key_of(entry), entry.role), entry.certificate.expires
        self._known |= found
        for name in names:
            self._before.pop(name, None)
