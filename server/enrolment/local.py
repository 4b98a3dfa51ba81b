"""The authority and the desk of a folder of runs, for whoever is on the same machine."""

from collections.abc import Callable
from pathlib import Path

from skerry.clock import system_clock
from skerry.security.certificates import Authority
from skerry.server.enrolment.desk import Desk
from skerry.server.federation_home import FederationHome
from skerry.server.registry.place import database_of

__all__ = ["authority_folder", "local_desk"]


def authority_folder(runs: Path) -> Path:
    """Where the certificate authority of a folder of runs lies."""
    return FederationHome(runs).root.parent


def local_desk(runs: Path, changed: Callable[[], None] = lambda: None) -> Desk:
    """A desk in this process; ``changed`` as of :class:`Desk`.

    Raises:
        InputError: there is no authority yet.
    """
    authority = Authority.open(authority_folder(runs))
    secret = FederationHome(runs).desk_secret()
    return Desk(database_of(runs), authority, secret=secret, clock=system_clock, changed=changed)
