"""Node ids of devices, as one SuperLink gave them out: a device's key is registered with its first call."""

import time
from collections.abc import Callable
from threading import Lock

from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_adapter import Control

__all__ = ["SuperlinkNodes"]

_LIST_S = 10.0  # between two lists that devices can cause


class SuperlinkNodes:
    """See :class:`~skerry.server.devices.Nodes`; safe to use from several threads.

    The SuperLink lists all of its nodes or none, which takes it longer the more they are. So it is asked once for
    those that it has, and whoever is not among them is registered. Where it does not accept a device it is asked again,
    but not more often than every ten seconds: a device that signs wrongly could have it do nothing else.

    Args:
        control: the Control API of the SuperLink, which only this machine reaches.
        monotonic: clock in seconds.
    """

    def __init__(self, control: Control, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._monotonic = monotonic
        self._known: dict[bytes, int] = {}
        self._doubtful: dict[bytes, int] = {}
        self._listed: float | None = None
        self._lock = Lock()  # Flower's client is not for several threads, and a key is registered once

    def node_id(self, device: EnrolledDevice) -> int:
        """The device's node id; registers its key when the SuperLink does not know it.

        Raises:
            ConnectionError: the SuperLink does not answer.
        """
        found = self.known(device)
        if found is not None:
            return found
        with self._lock:
            if device.node_key in self._doubtful and self._listed is not None:
                if self._monotonic() - self._listed < _LIST_S:
                    return self._doubtful[device.node_key]
                self._listed = None
            if device.node_key not in self._known and self._listed is None:
                self._known |= self._control.nodes()
                self._listed = self._monotonic()
                self._doubtful.clear()
            if device.node_key not in self._known:
                listed, self._listed = self._listed, None  # where the answer is lost, it may have the key all the same
                self._known[device.node_key] = self._control.register(device.key)
                self._listed = listed
            return self._known[device.node_key]

    def known(self, device: EnrolledDevice) -> int | None:
        """The device's node id, where the SuperLink need not be asked for it."""
        return self._known.get(device.node_key)

    def forget(self, device: EnrolledDevice) -> None:
        """Ask the SuperLink again some time: it was started anew, or does not accept the device."""
        with self._lock:
            found = self._known.pop(device.node_key, None)
            if found is not None:
                self._doubtful[device.node_key] = found
