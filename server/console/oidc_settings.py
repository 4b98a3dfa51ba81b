"""Which OpenID provider lets people into the console, and as what: a TOML file of whoever runs the servers.

::

    issuer = "https://login.example/realms/fleet"
    client_id = "skerry-console"
    claim = "groups"

    [roles]
    fleet-operators = "operator"
    fleet-readers = "viewer"
"""

import os
import ssl
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from skerry.config.reading import read_toml
from skerry.errors import InputError
from skerry.server.console.links import ConsoleRole

__all__ = ["OidcSettings", "load_oidc_settings"]

_Text = Annotated[str, Field(min_length=1, max_length=512)]


class OidcSettings(BaseModel):
    """One provider.

    Attributes:
        issuer: its identifier, an HTTPS address; its configuration lies below.
        client_id: the console's, at the provider.
        claim: of the ID token; text or a list of texts, each looked up in ``roles``.
        roles: what whoever has a text of the claim may do; the role that may more, of several.
        name: of the provider, on the page and behind people's names in decisions; its host where none is said.
        person: claim with the person's name.
        scope: that is asked for, beside ``openid``.
        client_secret_file: of a client that is confidential; without it PKCE alone binds a code to its asker.
        authority: PEM file of the provider's certificate authority; without it the system's are trusted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(pattern=r"^https://[^\s?#@]+$", max_length=512)]
    client_id: _Text
    claim: _Text
    roles: Annotated[dict[_Text, ConsoleRole], Field(min_length=1)]
    name: Annotated[str, Field(max_length=64)] = ""
    person: _Text = "preferred_username"
    scope: str = "profile"
    client_secret_file: Path | None = None
    authority: Path | None = None

    @property
    def called(self) -> str:
        """The provider's name for people."""
        return self.name or self.issuer.split("/")[2]

    def secret(self) -> str | None:
        """The client's, read anew each time, so that it can be changed.

        Raises:
            InputError: its file cannot be read.
        """
        if self.client_secret_file is None:
            return None
        try:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("the client's secret cannot be read", where=str(self.client_secret_file)) from error

    def trusted(self) -> ssl.SSLContext:
        """By what the provider's certificate is checked.

        Raises:
            InputError: the authority's file cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=None if self.authority is None else os.fspath(self.authority))
        except OSError as error:  # an SSLError is one
            raise InputError("the provider's authority cannot be read", where=str(self.authority)) from error


def load_oidc_settings(path: Path) -> OidcSettings:
    """Read and check the file; relative paths in it are from its folder.

    Raises:
        InputError: it cannot be read, or says something wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the settings of the OpenID provider cannot be read", where=str(path)) from error
    found = read_toml(OidcSettings, text, where=str(path), doc="docs/console.md")
    beside = {
        name: path.parent / value
        for name in ("client_secret_file", "authority")
        if (value := getattr(found, name)) is not None
    }
    settings = found.model_copy(update=beside)
    settings.secret()
    settings.trusted()
    return settings
