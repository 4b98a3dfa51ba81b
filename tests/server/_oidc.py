"""An OpenID provider over HTTPS on loopback, of one client and one person, that can be told to do wrong."""

import json
import secrets
import ssl
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from skerry.clock import system_clock
from skerry.server.console.oidc import OidcSignIn
from skerry.server.console.oidc_settings import load_oidc_settings

from ._federation import Federation

SETTINGS = """
issuer = "{issuer}"
client_id = "skerry-console"
claim = "groups"
name = "Harbour login"
authority = "{authority}"
{more}

[roles]
fleet-operators = "operator"
fleet-readers = "viewer"
"""
CLIENT, SECRET = "skerry-console", "the client's secret: 100 % of ü+1"


class Provider(ThreadingHTTPServer):
    """Attributes that a test sets: ``claims`` over the right ones, ``sign`` in place of the right signature,
    ``configuration`` over the published one, and ``beside`` the published keys."""

    def __init__(self, folder: Path, *, secret: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        folder.mkdir()
        authority = Federation(folder, "login")
        chain, key = authority.server_pem()
        self.root = folder / "root.pem"
        self.root.write_bytes(authority.root_pem)
        (folder / "shown.pem").write_bytes(chain + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "shown.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        authority.devices.close()
        self.issuer = f"https://127.0.0.1:{self.server_port}/realms/fleet"
        self.trusted = ssl.create_default_context(cafile=str(self.root))
        self.secret = secret
        self.reset()

    def reset(self) -> None:
        """Do right again."""
        self.keys = KeySet([RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})])
        self.claims: dict[str, Any] = {}
        self.configuration: dict[str, Any] = {}
        self.beside: list[Any] = []
        self.sign = self._signed
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []

    def rotate(self) -> None:
        self.keys = KeySet([ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig"})])

    def visit(self, url: str) -> dict[str, str]:
        """What a browser that goes there and signs in comes back to the page with."""
        with httpx.Client(verify=self.trusted) as client:
            answer = client.get(url)
        assert answer.status_code == 302, answer.text
        page, _, fragment = answer.headers["location"].partition("#")
        assert page.endswith("/console/")
        return dict(parse_qsl(fragment))

    def _signed(self, claims: dict[str, Any]) -> str:
        (key,) = self.keys.keys
        algorithm = "RS256" if key.key_type == "RSA" else "ES256"
        return jwt.encode({"alg": algorithm, "kid": key.kid}, claims, key)

    def token(self, begun: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "7",
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            "preferred_username": "ann",
            "groups": ["fleet-readers", "staff"],
        }
        return self.sign({name: value for name, value in {**claims, **self.claims}.items() if value is not None})


def unsigned(claims: dict[str, Any]) -> str:
    """By the algorithm ``none``."""
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def part(value: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def sign_in_at(login: Provider, folder: Path, now: Callable[[], float] = time.monotonic, more: str = "") -> OidcSignIn:
    """The console's side."""
    path = folder / "oidc.toml"
    path.write_text(SETTINGS.format(issuer=login.issuer, authority=login.root, more=more))
    return OidcSignIn(load_oidc_settings(path), system_clock, now)


@contextmanager
def provider(folder: Path, **how: Any) -> Iterator[Provider]:
    made = Provider(folder, **how)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        self.server.asked.append(place.path)
        issuer = self.server.issuer
        if place.path == "/realms/fleet/.well-known/openid-configuration":
            self._json({
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/keys",
                "response_modes_supported": ["query", "fragment"],
                "authorization_response_iss_parameter_supported": True,
                **self.server.configuration,
            })  # fmt: skip
        elif place.path == "/realms/fleet/keys":
            published = self.server.keys.as_dict(private=False)
            self._json({"keys": [*self.server.beside, *published["keys"]]})
        elif place.path == "/realms/fleet/authorize":
            self._authorize(dict(parse_qsl(place.query)))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        asked = {
            name: one
            for name, (one,) in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()
        }
        begun = self.server.codes.pop(asked.get("code", ""), None)
        challenge = urlsafe_b64encode(sha256(asked.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        right = (
            begun is not None
            and asked["grant_type"] == "authorization_code"
            and asked["client_id"] == begun["client_id"]
            and asked["redirect_uri"] == begun["redirect_uri"]
            and challenge == begun["code_challenge"]
        )
        if not self._client_is_right():
            self._json({"error": "invalid_client"}, 401)
            return
        if not right:
            self._json({"error": "invalid_grant"}, 400)
            return
        self._json({"access_token": secrets.token_hex(), "token_type": "Bearer", "id_token": self.server.token(begun)})

    def _client_is_right(self) -> bool:
        if self.server.secret is None:
            return "Authorization" not in self.headers
        given = b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode().split(":")
        return [unquote_plus(one) for one in given] == [CLIENT, self.server.secret]  # RFC 6749, section 2.3.1

    def _authorize(self, asked: dict[str, str]) -> None:
        right = (
            asked["client_id"] == CLIENT
            and asked["response_type"] == "code"
            and asked["response_mode"] == "fragment"
            and asked["code_challenge_method"] == "S256"
            and "openid" in asked["scope"].split()
        )
        if not right:
            self._json({"error": "invalid_request"}, 400)
            return
        code = secrets.token_urlsafe()
        self.server.codes[code] = asked
        back = urlencode({"state": asked["state"], "code": code, "iss": self.server.issuer})
        self.send_response(302)
        self.send_header("Location", f"{asked['redirect_uri']}#{back}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
