"""Browsers are shown the certificate that they know, devices the one under the root that they pin; renewed in place."""

import asyncio
import datetime as dt
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from skerry.clock import system_clock
from skerry.errors import InputError
from skerry.security.certificates import Authority
from skerry.server.fleet_server import _shown
from skerry.server.gateway import gateway_server
from skerry.server.gateway.public_certificate import PublicCertificate

OWN = ["fleet.example", "fleet.harbour.example", "127.0.0.1", "localhost"]


class PublicAuthority:
    """What browsers trust; issues to anybody, into ``chain.pem`` and ``key.pem`` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key.public_key(), [], days=30, authority=True)
        self.root = folder / "browsers.pem"
        self.root.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, *names: str, days: float = 30, passphrase: bytes | None = None) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(key.public_key(), list(names), days=days)
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
        chain, secret = self.folder / "chain.pem", self.folder / "key.pem"
        for path, data in (
            (chain, made.public_bytes(Encoding.PEM)),
            (secret, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)),
        ):
            fresh = path.with_suffix(".new")  # as a client of ACME puts them there
            fresh.write_bytes(data)
            fresh.replace(path)
        return chain, secret

    def _sign(self, public, names: list[str], *, days: float, authority: bool = False) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Everybody's")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name if authority else x509.Name([]))
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=40))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            wanted = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
            builder = builder.add_extension(wanted, critical=True)
        return builder.sign(self.key, SHA256())


@pytest.fixture
def browsers(tmp_path: Path) -> PublicAuthority:
    return PublicAuthority(tmp_path)


def taken(files: tuple[Path, Path], own: list[str] = OWN) -> PublicCertificate:
    return PublicCertificate(*files, own=own, clock=system_clock)


@contextmanager
def serving(folder: Path, public: PublicCertificate) -> Iterator[tuple[int, Path]]:
    """A server of uvicorn as the gateway's; its port, and the federation's root."""
    authority = Authority.create(folder / "authority", "harbour", now=system_clock())
    _shown(authority, folder, OWN, system_clock())
    listening = socket.create_server(("127.0.0.1", 0))

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    server = gateway_server(app, certificate=folder / "shown.pem", key=folder / "shown.key", public=public)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield listening.getsockname()[1], folder / "authority" / "root.pem"
    finally:
        server.should_exit = True
        thread.join()


def seen(port: int, name: str | None, root: Path) -> x509.Certificate:
    """The certificate that whoever trusts that root alone is shown under a name.

    Raises:
        ssl.SSLCertVerificationError: it is not under that root, or not for that name.
    """
    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=180) as plain,
        context.wrap_socket(plain, server_hostname=name) as line,
    ):
        assert line.selected_alpn_protocol() == "http/1.1"
        line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200")
        return x509.load_der_x509_certificate(line.getpeercert(binary_form=True))


def test_each_is_shown_the_certificate_that_it_trusts(browsers: PublicAuthority, tmp_path: Path) -> None:
    public = taken(browsers.issue("phones.example", "*.wild.example"))
    assert public.names == ("phones.example",)
    with serving(tmp_path, public) as (port, root):
        for name in ("phones.example", "PHONES.example", "a.wild.example"):
            seen(port, name, browsers.root)
            with pytest.raises(ssl.SSLCertVerificationError):
                seen(port, name, root)
        for name in ("fleet.example", "127.0.0.1", "localhost"):  # by an address no name is sent
            seen(port, name, root)
            with pytest.raises(ssl.SSLCertVerificationError):
                seen(port, name, browsers.root)
        for name in ("other.example", "a.b.wild.example", "wild.example"):
            with pytest.raises(ssl.SSLCertVerificationError):
                seen(port, name, browsers.root)


def test_a_wildcard_over_a_name_of_the_devices_takes_nothing_from_them(
    browsers: PublicAuthority, tmp_path: Path
) -> None:
    with serving(tmp_path, taken(browsers.issue("*.harbour.example"))) as (port, root):
        seen(port, "fleet.harbour.example", root)
        seen(port, "phones.harbour.example", browsers.root)


def test_renewed_files_are_shown_without_a_restart(
    browsers: PublicAuthority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = browsers.issue("phones.example")
    with serving(tmp_path, taken(files)) as (port, _):
        first = seen(port, "phones.example", browsers.root)
        old_key = files[1].read_bytes()
        browsers.issue("phones.example")
        new_key = files[1].read_bytes()
        files[1].write_bytes(old_key)  # in the middle of a renewal
        assert seen(port, "phones.example", browsers.root) == first
        assert seen(port, "phones.example", browsers.root) == first
        assert sum("read last" in one for one in caplog.messages) == 1
        files[1].write_bytes(new_key)
        assert seen(port, "phones.example", browsers.root) != first
        files[0].unlink()
        seen(port, "phones.example", browsers.root)


def test_what_cannot_be_shown_is_refused_at_the_start(browsers: PublicAuthority, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expired"):
        taken(browsers.issue("phones.example", days=-1))
    with pytest.raises(InputError, match="pin the federation's root"):
        taken(browsers.issue("fleet.example"))
    with pytest.raises(InputError, match="encrypted"):
        taken(browsers.issue("phones.example", passphrase=b"open"))
    chain, key = browsers.issue("phones.example")
    mine = chain.read_bytes()
    browsers.issue("phones.example")
    chain.write_bytes(mine)
    with pytest.raises(InputError, match="cannot be used"):
        taken((chain, key))
    with pytest.raises(InputError, match="cannot be used"):
        taken((tmp_path / "none.pem", key))
    chain.write_bytes(os.urandom(100))
    with pytest.raises(InputError, match="cannot be used"):
        taken((chain, key))
