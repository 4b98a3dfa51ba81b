"""What the public servers must know of a device; who knows it is passed in."""

import base64
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.security.certificates import Role

__all__ = ["DEVICES", "EVERYBODY", "READERS", "Devices", "EnrolledDevice", "Nodes"]

DEVICES = frozenset({Role.DEVICE})
"""Who takes part in rounds and receives models."""

READERS = frozenset({Role.DEVICE, Role.AUDITOR})
"""Who may read what is said of releases."""

EVERYBODY = frozenset(Role)


@dataclass(frozen=True)
class EnrolledDevice:
    """A member in good standing, nearly always a device: enrolled, not revoked, its certificate not expired.

    A device's one P-256 key is also its node key towards the SuperLink.
    """

    name: str
    key: EllipticCurvePublicKey
    role: Role = Role.DEVICE

    @cached_property
    def node_key(self) -> bytes:
        """The key as Flower's protocol carries it: PEM of the SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def node_key_header(self) -> str:
        """What the header ``flwr-public-key`` of this device's calls must be."""
        return base64.b64encode(self.node_key).decode()


class Devices(Protocol):
    """Who is enrolled."""

    def find(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """The holder of that name if in good standing now, and in one of the roles; ``None`` for anybody else."""
        ...

    def at_once(self, name: str, roles: Collection[Role] = DEVICES) -> EnrolledDevice | None:
        """What :meth:`find` says, where it says so without a wait and without an error; ``None`` elsewhere."""
        ...


class Nodes(Protocol):
    """Node ids that the SuperLink gave to devices' keys."""

    def node_id(self, device: EnrolledDevice) -> int:
        """The device's node id; makes the key known to the SuperLink when it is not.

        Raises:
            ConnectionError: the SuperLink does not answer.
        """
        ...

    def known(self, device: EnrolledDevice) -> int | None:
        """The device's node id where the SuperLink need not be asked for it; returns at once."""
        ...

    def forget(self, device: EnrolledDevice) -> None:
        """The SuperLink does not know the device's key (any more): ask it again next time."""
        ...
