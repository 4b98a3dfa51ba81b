"""Devices in good standing, as the registry of a folder of runs knows them at this moment."""

from skerry.clock import Clock
from skerry.security.certificates import Role
from skerry.server.devices import EnrolledDevice
from skerry.server.enrolment.certify import device_key_of
from skerry.server.registry.enrolled import State, enrolled
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.records import DeviceKind, Scope

__all__ = ["RegistryDevices"]


class RegistryDevices:
    """See :class:`~skerry.server.devices.Devices`; nothing is remembered, so a revocation counts at once.

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

    def find(self, name: str) -> EnrolledDevice | None:
        """The device of that name, enrolled under a certificate that holds now."""
        now = self._clock()
        with self._file.reading() as base:
            entries = enrolled(base, scope=self._scope, name=name)
        for entry in entries:
            certificate = entry.certificate
            if (
                entry.state is State.ENROLLED
                and entry.role is Role.DEVICE
                and certificate is not None
                and now < certificate.expires
            ):
                return EnrolledDevice(name, device_key_of(entry))
        return None
