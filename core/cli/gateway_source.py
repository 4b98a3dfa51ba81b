"""The gateway as commands ask it: each request signed by an enrolled device or auditor."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.device.service import GatewaySource
    from skerry.security.identity import KeyStore

__all__ = ["gateway_source"]


def gateway_source(address: str, home: Path, store: "KeyStore") -> "GatewaySource":
    """The gateway at that address, whose requests the enrolled device signs."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    from skerry.clock import system_clock
    from skerry.device.membership import Folder
    from skerry.device.service import GatewaySource
    from skerry.errors import InputError

    member = Folder(home).membership()
    if member is None:
        raise InputError("this device is not enrolled", where=str(home), mend="see `skerry device enrol`")
    return GatewaySource(
        address,
        roots=member.root.public_bytes(Encoding.PEM),
        name=store.identity.name,
        sign=lambda message: store.device_key.sign(message, ECDSA(SHA256())),
        clock=system_clock,
    )
