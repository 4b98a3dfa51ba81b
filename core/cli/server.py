"""``skerry server``: the servers that a fleet of real devices speaks to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.addresses import is_any_address
from skerry.cli.authority import open_authority
from skerry.cli.console import AsJson, RunsDir, emit, facts, note, out
from skerry.cli.server_backup import backup, restore
from skerry.cli.server_console import console
from skerry.cli.server_metrics import metrics
from skerry.cli.server_registry import app as registry

if TYPE_CHECKING:
    from skerry.security.enrolment import Invitation
    from skerry.server.console.oidc import OidcSignIn
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Serve a fleet of real devices: SuperLink, gateway, device service.")

app.command()(backup)
app.command()(restore)
app.command()(metrics)
app.command()(console)
app.add_typer(registry, name="registry")

_LOOK_S = 0.5
_ANSWER_S = 5.0
_INVITE_MS = 3_600_000


@app.command()
def up(
    *,
    federation: Annotated[
        str | None, typer.Option("--federation", help="Name of the federation \\[default: as before, else fleet].")
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="Name or address under which devices reach this machine; repeat."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the gateway, HTTPS; 0: any.")] = 8443,
    enrolment_port: Annotated[
        int, typer.Option("--enrolment-port", min=0, max=65535, help="gRPC, TLS; 0: any.")
    ] = 8444,
    device_port: Annotated[
        int, typer.Option("--device-port", min=0, max=65535, help="gRPC, mutual TLS; 0: any.")
    ] = 8445,
    repository: Annotated[
        Path | None, typer.Option("--repository", metavar="DIR", help="Releases \\[default: RUNS/repository].")
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option("--database", metavar="FILE", help="Keep messages under way in a file, not in memory; slower."),
    ] = None,
    public_certificate: Annotated[
        Path | None,
        typer.Option(
            "--public-certificate", metavar="FILE", help="PEM chain that browsers know, for names that are no --name."
        ),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Its key, PEM; both are read anew when renewed."),
    ] = None,
    oidc: Annotated[
        Path | None,
        typer.Option("--oidc", metavar="FILE", help="OpenID provider that lets people into the console, and as what."),
    ] = None,
    device_class: Annotated[
        str, typer.Option("--device-class", help="Of the device that is invited; phone: a link.")
    ] = "device",
    log_json: Annotated[
        bool,
        typer.Option("--log-json", help="Log to standard output, one JSON object a line, and invite nobody."),
    ] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Start a SuperLink, the gateway and the device service, print an invite, and serve until Ctrl-C or SIGTERM.

    The SuperLink listens on 127.0.0.1 only. The federation's certificates are made when there are none;
    SKERRY_ROOT_PASSPHRASE (or the file in SKERRY_ROOT_PASSPHRASE_FILE) encrypts the root's key then. The invite lets
    one device in without approval, within an hour: whoever reads this output may use it. --log-json prints none.
    """
    import time
    from contextlib import ExitStack

    from skerry.cli.fleet.options import PHONE, who
    from skerry.cli.json_log import json_log
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.federation_home import FederationHome
    from skerry.server.fleet_server import Ports, fleet_server

    home = FederationHome(runs_in(runs_dir))
    names = name or []
    if is_any_address(host) and not names:
        raise InputError(
            f"with --host {host} devices must be told a name",
            where="--name",
            mend="say under which they reach this machine",
        )
    if log_json and as_json:
        raise InputError("--json and --log-json both want standard output", where="--log-json", mend="leave one out")
    public = _public(public_certificate, public_key)
    provider = None if oidc is None else _provider(oidc)
    try:
        with ExitStack() as held:
            log = held.enter_context(json_log()) if log_json else None
            held.enter_context(_sigterm_is_ctrl_c())
            server = held.enter_context(
                fleet_server(
                    home,
                    open_authority(home, federation=federation, now=system_clock()),
                    clock=system_clock,
                    host=host,
                    names=names,
                    ports=Ports(port, enrolment_port, device_port),
                    repository=repository,
                    database=database,
                    public=public,
                    oidc=provider,
                )
            )
            document = _document(server.noted)
            if log is not None:
                log.info("serving", extra={"facts": document})
            else:
                phones = server.browsers.names if server.browsers and device_class == PHONE else ()
                reached = next(iter([*phones, *names]), host)
                invite = server.office.invite(
                    server.authority,
                    device_class=device_class,
                    by=who(None),
                    now=system_clock(),
                    life=_INVITE_MS,
                    approve=True,
                    address=f"https://{reached}:{server.noted.addresses['gateway'].rpartition(':')[2]}",
                )
                _say_up(server.noted, invite, invite.link if device_class == PHONE else invite.text, as_json=as_json)
            while True:
                server.check()
                time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        if not log_json:
            note().print("stopped")


@app.command()
def status(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Say whether this federation's servers run, where, and whether each of them answers."""
    from skerry.cli.console import fail
    from skerry.errors import RunFailedError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

    home = FederationHome(runs_in(runs_dir))
    found = RunningServer.read(home.server)
    if found is None:
        error = RunFailedError("no server runs", where=str(home.folder), mend="`skerry server up` starts one")
        fail(error, {"running": False}, as_json=as_json)
    answering = {
        part: _healthy(address, home) if part == "gateway" else _answers(address)
        for part, address in found.addresses.items()
    }
    document = {**_document(found), "running": True, "answers": answering}
    silent = [part for part, answers in answering.items() if not answers]
    if not as_json:
        _tell(found)
    if silent:
        error = RunFailedError(f"no answer from: {', '.join(silent)}", where=str(home.logs), mend="see the logs")
        fail(error, document, as_json=as_json)
    if as_json:
        emit(document)


@app.command()
def stop(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """End this federation's servers, and wait until they have ended."""
    from skerry.errors import RunFailedError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

    home = FederationHome(runs_in(runs_dir))
    found = RunningServer.read(home.server)
    if found is not None:
        found.stop()
        if RunningServer.read(home.server) == found:
            raise RunFailedError(
                f"the server (process {found.pid}) runs in another container", mend="end it there, or that container"
            )
    if as_json:
        emit({"stopped": found is not None, "pid": None if found is None else found.pid})
    else:
        note().print("stopped" if found is not None else f"no server runs in {home.folder}")


def _public(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    from skerry.errors import InputError

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        lacking = "--public-key" if key is None else "--public-certificate"
        raise InputError("a public certificate and its key go together", where=lacking, mend="name both files")
    return certificate, key


def _provider(settings: Path) -> "OidcSignIn":
    from skerry.clock import system_clock
    from skerry.errors import MissingDependencyError

    try:
        from skerry.server.console.oidc import OidcSignIn
        from skerry.server.console.oidc_settings import load_oidc_settings
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed", where="--oidc", mend="pip install 'skerry[oidc]'"
        ) from error
    return OidcSignIn(load_oidc_settings(settings), system_clock)


def _say_up(server: "RunningServer", invite: "Invitation", shown: str, *, as_json: bool) -> None:
    if as_json:
        told = {"text": invite.text, "expires": invite.expires, "link": invite.link}
        emit({**_document(server), "invite": told})
        return
    _tell(server)
    out().print("\nan invite for one device, for an hour; hand it over in secret:\n", soft_wrap=True)
    out().print(shown, soft_wrap=True)
    note().print("\nserving; Ctrl-C ends it")


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM ends the command as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _healthy(address: str, home: "FederationHome") -> bool:
    """Whether the gateway there answers under the federation's root."""
    import ssl
    from http.client import HTTPException, HTTPSConnection

    host, _, port = address.rpartition(":")
    try:
        trusted = ssl.create_default_context(cafile=str(home.root))
        connection = HTTPSConnection(_reached(host), int(port), timeout=_ANSWER_S, context=trusted)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False


def _answers(address: str) -> bool:
    """Whether somebody accepts connections there."""
    import socket

    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((_reached(host), int(port)), timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def _reached(host: str) -> str:
    return "localhost" if is_any_address(host) else host


def _document(server: "RunningServer") -> dict[str, Any]:
    return {
        "federation": server.federation,
        "pid": server.pid,
        "since": server.since,
        "addresses": dict(server.addresses),
        "certificate_until": server.certificate_until,
    }


def _tell(server: "RunningServer") -> None:
    from skerry.wording import moment

    parts = server.addresses
    out().print(
        facts(
            [
                ("federation", server.federation),
                ("gateway", f"https://{parts['gateway']}"),
                ("enrolment", f"{parts['enrolment']} (gRPC, TLS)"),
                ("devices", f"{parts['devices']} (gRPC, mutual TLS)"),
                ("SuperLink", f"{parts['superlink']} (this machine only)"),
                ("certificate until", moment(server.certificate_until)),
                ("process", str(server.pid)),
            ]
        )
    )
