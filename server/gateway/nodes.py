"""Node ids of devices, as one SuperLink gave them out: a device's key is registered with its first call."""

from threading import Lock

from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_adapter import Control

__all__ = ["SuperlinkNodes"]


class SuperlinkNodes:
    """See :class:`~skerry.server.devices.Nodes`; safe to use from several threads.

    Args:
        control: the Control API of the SuperLink, which only this machine reaches.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: dict[bytes, int] = {}
        self._lock = Lock()  # Flower's client is not for several threads, and a key is registered once

    def node_id(self, device: EnrolledDevice) -> int:
        """The device's node id; registers its key when the SuperLink does not know it.

        Raises:
            ConnectionError: the SuperLink does not answer.
        """
        found = self._known.get(device.node_key)
        if found is not None:
            return found
        with self._lock:
            if device.node_key not in self._known:
                self._known[device.node_key] = self._control.node_of(device.key)
            return self._known[device.node_key]

    def forget(self, device: EnrolledDevice) -> None:
        """Ask the SuperLink again next time: it was started anew, or does not accept the device."""
        with self._lock:
            self._known.pop(device.node_key, None)
