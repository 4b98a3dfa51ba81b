"""A federation's authority as commands open it: made when there is none, its root's key behind a passphrase."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.console import note

if TYPE_CHECKING:
    from skerry.security.certificates import Authority
    from skerry.server.federation_home import FederationHome

__all__ = ["open_authority", "root_passphrase"]

_FILE = "SKERRY_ROOT_PASSPHRASE_FILE"


def root_passphrase() -> bytes | None:
    """``SKERRY_ROOT_PASSPHRASE``, or what is in the file that ``SKERRY_ROOT_PASSPHRASE_FILE`` names; None without.

    Raises:
        InputError: there is no such file.
    """
    file = os.environ.get(_FILE)
    if not file:
        return os.environ.get("SKERRY_ROOT_PASSPHRASE", "").encode() or None
    try:
        return Path(file).read_bytes().removesuffix(b"\n").removesuffix(b"\r") or None
    except OSError as error:
        from skerry.errors import InputError

        raise InputError(f"the root's passphrase cannot be read: {error.strerror}", where=f"{_FILE}={file}") from error


def open_authority(home: "FederationHome", *, federation: str | None, now: int) -> "Authority":
    """See :meth:`FederationHome.authority`; one that is made is told of, and whether its root's key is encrypted."""
    words, new = root_passphrase(), not home.root.exists()
    authority = home.authority(now=now, federation=federation, passphrase=words)
    if new:
        note().print(f"made a certificate authority in {home.root.parent}", soft_wrap=True)
    if new and words is None:
        mend = "move root.key off this machine; it is needed for new issuing keys only"
        note().print(f"its root's key is not encrypted: {mend}", style="yellow", soft_wrap=True)
    return authority
