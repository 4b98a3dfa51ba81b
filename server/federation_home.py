"""Where a federation's authority and its servers' files lie: a folder in the folder of runs, closed to others."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import InputError, RefusedError
from skerry.fsio import write_atomic
from skerry.security.certificates import Authority, ms_of
from skerry.security.identity import Identity
from skerry.security.identity.private_file import read_private
from skerry.security.locking import exclusive
from skerry.server.bells import Bells
from skerry.server.coordinator import COORDINATOR

__all__ = ["FederationHome"]


@dataclass(frozen=True)
class FederationHome:
    """``<runs>/federation``.

    Attributes:
        runs: the folder of runs, which also holds the registry.
    """

    runs: Path

    @property
    def folder(self) -> Path:
        """Readable by its owner only."""
        return self.runs / "federation"

    @property
    def logs(self) -> Path:
        """What the programs write."""
        return self.folder / "logs"

    @property
    def inbox(self) -> Path:
        """What devices hand in."""
        return self.folder / "inbox.sqlite"

    @property
    def server(self) -> Path:
        """Who serves, and where."""
        return self.folder / "server.json"

    @property
    def console(self) -> Path:
        """Links into the console that were not used yet."""
        return self.folder / "console"

    @property
    def bells(self) -> Bells:
        """By which coordinator and gateway tell one another that something has come."""
        return Bells(self.folder / "bells")

    @property
    def root(self) -> Path:
        """The root certificate, PEM."""
        return self.folder / "authority" / "root.pem"

    def authority(self, *, now: int, federation: str | None = None, passphrase: bytes | None = None) -> Authority:
        """The federation's authority; made when there is none.

        Args:
            now: ms since the epoch.
            federation: its name; ``None`` takes that of the authority that is there, else ``fleet``.
            passphrase: encrypts the root's key, when it is made.

        Raises:
            InputError: the authority that is there is another federation's, or cannot be read.
            RefusedError: its issuing certificate does not hold now (``clock_or_certificate``), or its key is open to
                others.
        """
        place = self.root.parent
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.root.exists():
            return Authority.create(place, federation or "fleet", now=now, passphrase=passphrase)
        found = Authority.open(place)
        if federation not in {None, found.federation}:
            raise InputError(
                f"this folder is of the federation {found.federation!r}, not {federation!r}",
                where=str(self.folder),
                mend="leave the name out, or use another folder of runs",
            )
        begin, end = (ms_of(at) for at in (found.issuer.not_valid_before_utc, found.issuer.not_valid_after_utc))
        if not begin <= now < end:
            raise RefusedError(
                "clock_or_certificate",
                "the federation's issuing certificate is not valid yet"
                if now < begin
                else "the federation's issuing certificate has expired",
                where=str(place),
                mend="check this machine's clock; if it is right, make a new issuing key",
            )
        return found

    def coordinator(self) -> Identity:
        """The federation's coordinator, whom its devices were told to follow; its keys are made once, for good.

        Raises:
            InputError: the file is not a key file.
            RefusedError: others than its owner may use it (``open_key_file``).
        """
        path = self.folder / "coordinator.json"
        with exclusive(path):  # two that come first would make two, and devices follow one
            if not path.exists():
                Identity.generate(COORDINATOR).save(path)
            return Identity.load(path)

    def desk_secret(self) -> bytes:
        """What binds the desk's challenges to it, 32 bytes; the same over restarts."""
        path = self.folder / "desk.secret"
        if not path.exists():
            write_atomic(path, secrets.token_bytes(32), mode=0o600)
        return read_private(path)
