"""``skerry fleet console``: an operator or auditor of the federation gets a link to the console by an enrolled key."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson
from skerry.cli.gateway_source import gateway_source
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store
from skerry.cli.server_console import show_link

__all__ = ["console"]


def console(
    gateway: Annotated[str, typer.Argument(metavar="GATEWAY", help="Its address, https://…")],
    *,
    home: HomeOption,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a link to the console for who was enrolled in --home as operator (may decide) or auditor (may look).

    The request is signed by the enrolled key; the session ends when that enrolment is revoked.
    """
    with gateway_source(gateway, home, open_store(home, key_file)) as source:
        told = source.document("/v1/console-link")
    show_link(gateway, str(told["role"]), str(told["token"]), as_json=as_json)
