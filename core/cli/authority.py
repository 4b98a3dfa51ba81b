"""A federation's authority as commands open it: made when there is none, its root's key behind a passphrase."""

import os
from typing import TYPE_CHECKING

from skerry.cli.console import note

if TYPE_CHECKING:
    from skerry.security.certificates import Authority
    from skerry.server.federation_home import FederationHome

__all__ = ["open_authority", "root_passphrase"]


def root_passphrase() -> bytes | None:
    """``SKERRY_ROOT_PASSPHRASE``; None where it is not set."""
    return os.environ.get("SKERRY_ROOT_PASSPHRASE", "").encode() or None


def open_authority(home: "FederationHome", *, federation: str | None, now: int) -> "Authority":
    """See :meth:`FederationHome.authority`; one that is made is told of, and whether its root's key is encrypted."""
    words, new = root_passphrase(), not home.root.exists()
    authority = home.authority(now=now, federation=federation, passphrase=words)
    if new:
        note().print(f"made a certificate authority in {home.root.parent}", markup=False, soft_wrap=True)
    if new and words is None:
        mend = "move root.key off this machine; it is needed for new issuing keys only"
        note().print(f"its root's key is not encrypted: {mend}", style="yellow", markup=False, soft_wrap=True)
    return authority
