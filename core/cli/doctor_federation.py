"""What ``skerry doctor`` looks at where a folder of runs has a federation: secrets, certificates, servers, releases.

A root that was made, or certificates that devices got, in the future tell of a clock that was set back.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.cli.doctor_check import Check

if TYPE_CHECKING:
    from skerry.server.running import RunningServer

__all__ = ["certificates", "federation", "repository", "server"]

_WAIT_S = 5.0
_SOON_S = 30 * 86_400


def federation(runs: Path) -> Iterator[Check]:
    """All checks; none where there is no federation, nor what they need installed."""
    if not (runs / "federation").exists():
        return
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

    home = FederationHome(runs)
    yield _private(home.folder, [path for path in _secrets(runs) if path.is_file()])
    yield certificates(home.root.parent)
    noted = RunningServer.read(home.server)
    if noted is not None:
        yield from server(noted, home.root)
    if (runs / "repository" / "metadata").is_dir():
        yield repository(runs / "repository")


def _secrets(runs: Path) -> Iterator[Path]:
    """Files for their owner only: keys of authority, coordinator, servers, log and releases; the registry."""
    home, keys = runs / "federation", runs / "repository.keys"
    yield from [*(home / "authority").glob("*.key"), *home.glob("*.secret"), *home.glob("serving-*/shown.key")]
    yield from [home / "coordinator.json", runs / "log" / "key.json", runs / "registry.sqlite"]
    yield from [keys / "publisher.json", *keys.rglob("*.pem")]


def _private(folder: Path, secret: list[Path]) -> Check:
    open_ones = [path for path in [folder, *secret] if path.stat().st_mode & 0o077]
    if not open_ones:
        return Check("federation's secrets", "ok", f"{len(secret)} files that only their owner may read")
    names = " ".join(map(str, open_ones))
    return Check(
        "federation's secrets",
        "missing",
        f"others may use {', '.join(path.name for path in open_ones)}",
        f"if nobody can have read them: chmod go= {names}; otherwise make new keys",
    )


def certificates(folder: Path, now: Callable[[], float] = time.time) -> Check:
    """Root and issuing certificate by this clock."""
    from skerry.errors import SkerryError
    from skerry.security.certificates import Authority, ms_of, renew_at

    name, moment = "federation's certificates", round(1000 * now())
    try:
        authority = Authority.open(folder)
    except SkerryError as error:
        return Check(name, "missing", error.what, error.mend)
    root, issuer = authority.root, authority.issuer
    until = f"issuing until {issuer.not_valid_after_utc:%Y-%m-%d}, root until {root.not_valid_after_utc:%Y-%m-%d}"
    if moment < ms_of(issuer.not_valid_before_utc):
        return Check(name, "missing", "issued in the future", "this machine's clock was set back: set it (NTP)")
    if moment >= ms_of(root.not_valid_after_utc):
        return Check(name, "missing", until, "check the clock; if it is right: a new federation, and enrol anew")
    if moment >= ms_of(issuer.not_valid_after_utc):
        return Check(name, "missing", until, "check the clock; if it is right: skerry security keys rotate")
    if moment >= renew_at(issuer):
        return Check(name, "warning", until, "skerry security keys rotate")
    return Check(name, "ok", until)


def server(noted: "RunningServer", root: Path, now: Callable[[], float] = time.time) -> Iterator[Check]:
    """The server that runs: whether its ports answer, and under a certificate that leads to the root and holds."""
    import ssl

    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["h2", "http/1.1"])  # gRPC wants to be asked for
    ends = {}
    for name in ("gateway", "enrolment", "devices"):
        check = f"server's port: {name}"
        try:
            ends[name] = _shown(noted.addresses[name], context)
        except ssl.SSLCertVerificationError as error:
            mend = "check this machine's clock; if it is right: restart `skerry server up`, which makes a new one"
            yield Check(check, "missing", f"its certificate does not hold: {error.verify_message}", mend)
        except (OSError, KeyError) as error:
            yield Check(check, "missing", f"it does not answer: {error}", "restart `skerry server up`")
        else:
            yield Check(check, "ok", f"{noted.addresses[name]} answers")
    if ends:
        end = min(ends.values())
        until = f"until {time.strftime('%Y-%m-%d', time.gmtime(end))}"
        if now() >= end - _SOON_S:
            mend = "restart `skerry server up` before: it makes a new one"
            yield Check("server's certificate", "warning", until, mend)
        else:
            yield Check("server's certificate", "ok", until)


def _shown(address: str, context: Any) -> float:
    """When the certificate ends that is shown there, in seconds; from this machine, whatever address is listened on."""
    import socket
    import ssl

    from skerry.addresses import is_any_address

    host, _, port = address.rpartition(":")
    reached = "127.0.0.1" if not host or is_any_address(host) else host.strip("[]")
    with (
        socket.create_connection((reached, int(port)), timeout=_WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=reached) as tls,
    ):
        return float(ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]))


def repository(folder: Path, now: Callable[[], float] = time.time) -> Check:
    """Whether devices would take what the release repository says: no role has ended."""
    from skerry.errors import SkerryError
    from skerry.security.delivery.repository.files import read_metadata

    name = "release repository"
    try:
        ends = {role: one.signed.expires.timestamp() for role, one in read_metadata(folder).items()}
    except SkerryError as error:
        return Check(name, "missing", error.what, error.mend)
    over = sorted(role for role, end in ends.items() if now() >= end)
    if over:
        mend = f"skerry release renew --repository {folder}, every day by a timer"
        return Check(name, "missing", f"devices refuse it: {', '.join(over)} ended", mend)
    first = min(ends, key=lambda role: ends[role])
    return Check(name, "ok", f"{first} ends first, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(ends[first]))}")
