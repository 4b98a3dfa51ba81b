"""``skerry security keys``: what keys there are, what ends when, and new ones in time."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.authority import root_passphrase
from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

if TYPE_CHECKING:
    from skerry.security.identity import SealedKeyStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Keys and certificates: what ends when, and new ones in time.")

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="SKERRY_DEVICE_HOME", help="A device's folder; without it, the federation's keys."),
]


@dataclass(frozen=True)
class Term:
    """A key or certificate: from when on there should be a new one, and when it ends; both in ms."""

    what: str
    renew_at: int
    ends: int


@app.callback()
def keys() -> None:
    """Keys and certificates: what ends when, and new ones in time."""


@app.command()
def status(
    *,
    home: Home = None,
    key_file: KeyFile = None,
    repository: Annotated[
        Path | None,
        typer.Option("--repository", metavar="DIR", help="A release repository \\[default: that of the runs, if any]."),
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what ends when: of a device with --home, and its key's fingerprint; else of all that is on the server.

    That is the authority, the server that runs, the roles of the release repository, and everybody's certificate and
    sealing key. Keys of the coordinator, of the log and of a repository's publisher do not end by themselves.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.certificates import fingerprint, spki
    from skerry.wording import moment

    now = system_clock()
    digits = None
    if home is None:
        runs = runs_in(runs_dir)
        found = [*_federation(runs), *_repository(repository or runs / "repository", asked=repository is not None)]
    else:
        store = open_store(home, key_file)
        found, digits = _device(home, store), fingerprint(spki(store.device_key.public_key()))
    if as_json:
        emit({"now": now, "keys": [asdict(one) for one in found], "fingerprint": digits})
        return
    shown = table("keys and certificates", ["what", "renew from", "ends", ""])
    for one in found:
        left = "ended" if now >= one.ends else "renew now" if now >= one.renew_at else "good"
        shown.add_row(one.what, moment(one.renew_at), moment(one.ends), left)
    out().print(shown)
    if digits is not None:
        out().print(f"fingerprint of the device key: {digits}", soft_wrap=True)


@app.command()
def rotate(
    *,
    home: Home = None,
    key_file: KeyFile = None,
    days: Annotated[int, typer.Option("--days", help="Of a device's next sealing key: 7 to 30.")] = 14,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Make the next key: a device's sealing key with --home, else the federation's issuing key.

    Keys of epochs that are over are deleted. A device tells the federation of its new key when it renews
    (`skerry device enrol --renew`). A new issuing key needs the root's; SKERRY_ROOT_PASSPHRASE opens it. A server that
    runs takes it with the next device that asks.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.certificates import Authority
    from skerry.server.federation_home import FederationHome
    from skerry.wording import moment

    now = system_clock()
    if home is None:
        federation = FederationHome(runs_in(runs_dir))
        made = Authority.rotate(federation.root.parent, now=now, passphrase=root_passphrase())
        found = Term(f"issuing certificate of {made.federation}", *_times(made.issuer))
    else:
        epoch = open_store(home, key_file).rotate(now, days)
        found = Term(f"sealing key, epoch {epoch.number}", _two_thirds(epoch.begins, epoch.ends), epoch.ends)
    if as_json:
        emit(asdict(found))
        return
    out().print(f"{found.what} until {moment(found.ends)} UTC", soft_wrap=True)
    if home is not None:
        note().print("tell the federation: skerry device enrol --renew", style="dim", soft_wrap=True)


@app.command()
def unlock(*, home: HomeOption, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Open a device's keys once for as long as the machine runs; for those in the kernel's keyring."""
    store = open_store(home, key_file, unlock=True)
    if as_json:
        emit({"name": store.identity.name, "backend": store.backend})
        return
    out().print(f"the keys of {store.identity.name} are open", soft_wrap=True)


def _device(home: Path, store: "SealedKeyStore") -> list[Term]:
    from skerry.device.membership import Folder

    member = Folder(home).membership()
    found = [] if member is None else [Term(f"certificate of {member.subject.uri}", *_times(member.certificate))]
    for one in reversed(store.kem.epochs):
        kind = f"sealing key, {one.key.suite.value}, epoch {one.number}, in {store.backend}"
        found.append(Term(kind, _two_thirds(one.begins, one.ends), one.ends))
    return found


def _federation(runs: Path) -> list[Term]:
    from cryptography.x509 import load_der_x509_certificate

    from skerry.security.certificates import Authority
    from skerry.server.enrolment import Office, authority_folder
    from skerry.server.federation_home import FederationHome
    from skerry.server.registry.enrolled import State
    from skerry.server.running import RunningServer

    authority = Authority.open(authority_folder(runs))
    name = authority.federation
    found = [Term(f"root of {name}", *_times(authority.root)), Term(f"issuing {name}", *_times(authority.issuer))]
    # a retired one signs nothing more: there is nothing to renew, so it is due when it ends
    found += [Term(f"issuing {name}, retired", end, end) for end in (_times(one)[1] for one in authority.retired)]
    server = RunningServer.read(FederationHome(runs).server)
    if server is not None:
        ends = server.certificate_until
        found.append(Term("certificate of the server that runs", _two_thirds(server.since, ends), ends))
    for entry in Office(runs, upgrade=False).enrolled():
        if entry.state is State.ENROLLED and entry.certificate is not None:
            certificate = load_der_x509_certificate(entry.certificate.der)
            found.append(Term(f"{entry.role.value} {entry.device.name}", *_times(certificate)))
            due = _two_thirds(entry.kem.at, entry.kem.expires)
            found.append(Term(f"sealing key of {entry.device.name}, epoch {entry.kem.epoch}", due, entry.kem.expires))
    return found


def _repository(folder: Path, *, asked: bool) -> list[Term]:
    """The roles of a release repository: who has to sign again, and when what was signed ends."""
    from skerry.security.delivery.repository.files import read_metadata
    from skerry.security.delivery.repository.roles import lifetime

    if not asked and not (folder / "metadata").is_dir():
        return []
    found = []
    for role, one in read_metadata(folder).items():
        ends, half = round(1000 * one.signed.expires.timestamp()), round(500 * lifetime(role).total_seconds())
        found.append(Term(f"{folder.name}: role {role}", ends - half, ends))
    return found


def _times(certificate: object) -> tuple[int, int]:
    from cryptography.x509 import Certificate

    from skerry.security.certificates import ms_of, renew_at

    assert isinstance(certificate, Certificate)
    return renew_at(certificate), ms_of(certificate.not_valid_after_utc)


def _two_thirds(begins: int, ends: int) -> int:
    return begins + (ends - begins) * 2 // 3
