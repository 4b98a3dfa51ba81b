"""What the public servers must know of a device; who knows it is passed in."""

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["Devices", "EnrolledDevice", "Nodes"]


@dataclass(frozen=True)
class EnrolledDevice:
    """A device in good standing: enrolled, not revoked, its certificate not expired.

    Its one P-256 key is also its node key towards the SuperLink.
    """

    name: str
    key: EllipticCurvePublicKey

    @cached_property
    def node_key(self) -> bytes:
        """The key as Flower's protocol carries it: PEM of the SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def node_key_header(self) -> str:
        """What the header ``flwr-public-key`` of this device's calls must be."""
        return base64.b64encode(self.node_key).decode()


class Devices(Protocol):
    """The enrolled devices."""

    def find(self, name: str) -> EnrolledDevice | None:
        """The device of that name if it is in good standing now; ``None`` for anybody else."""
        ...


class Nodes(Protocol):
    """Node ids that the SuperLink gave to devices' keys."""

    def node_id(self, device: EnrolledDevice) -> int:
        """The device's node id; makes the key known to the SuperLink when it is not.

        Raises:
            ConnectionError: the SuperLink does not answer.
        """
        ...

    def forget(self, device: EnrolledDevice) -> None:
        """The SuperLink does not know the device's key (any more): ask it again next time."""
        ...
