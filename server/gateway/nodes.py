"""Node ids of devices, as one SuperLink gave them out: a device's key is registered with its first call."""

from threading import Lock

from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_adapter import Control

__all__ = ["SuperlinkNodes"]


class SuperlinkNodes:
    """See :class:`~skerry.server.devices.Nodes`; safe to use from several threads.

    The SuperLink lists all of its nodes or none, which takes it longer the more they are. So it is asked once for
    those that it has, and whoever is not among them is registered.

    Args:
        control: the Control API of the SuperLink, which only this machine reaches.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: dict[bytes, int] = {}
        self._listed = False
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
            if device.node_key not in self._known and not self._listed:
                self._known |= self._control.nodes()
                self._listed = True
            if device.node_key not in self._known:
                self._listed = False  # where the answer is lost, it may have the key all the same
                self._known[device.node_key] = self._control.register(device.key)
                self._listed = True
            return self._known[device.node_key]

    def forget(self, device: EnrolledDevice) -> None:
        """Ask the SuperLink again next time: it was started anew, or does not accept the device."""
        with self._lock:
            self._known.pop(device.node_key, None)
            self._listed = False
