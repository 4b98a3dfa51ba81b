"""The page for browsers, as ``make web`` built it and packaging took it along: static files under a strict policy.

The files are read once, when the gateway starts, and only what was read then is served: no request's path is ever
joined to a folder. The page is the same for everybody and holds nothing secret, so nobody signs for it.
"""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.server.gateway.answers import FIXED_HEADERS, InParts
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["BUILT", "web_page_routes"]

BUILT = Path(__file__).with_name("web-page")
"""Where the build puts the page; absent in a clone in which nobody has built it."""

_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NOT_BUILT = "this installation holds no page: `make web` builds it in a clone, `make wheel` makes a package with it"
_HEADERS = {**FIXED_HEADERS, "content-security-policy": _POLICY}
_NAMED_BY_CONTENT = "assets/"
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    caching: str


def web_page_routes(reception: Reception, built: Path = BUILT) -> list[Route]:
    """The one route, ``/phone/<file>``.

    Args:
        reception: holds strangers to sizes and rates.
        built: folder of the built page.
    """
    files = _read(built)

    async def file(request: Request) -> Response:
        await reception.stranger(request, body_limit=0)
        found = files.get(request.path_params["path"])
        if found is None:
            what = "there is no such file of the page" if files else _NOT_BUILT
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, what)
        return InParts(found.content, headers={**_HEADERS, "cache-control": found.caching}, media_type=found.kind)

    return [Route("/phone/{path:path}", file, methods=["GET"])]


def _read(built: Path) -> dict[str, _File]:
    """Every file of the page by its path below the folder; links are passed over, and kinds that are not ours."""
    found: dict[str, _File] = {}
    for path in sorted(built.rglob("*")):
        kind = _KINDS.get(path.suffix)
        if kind is None or path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(built).as_posix()
        found[name] = _File(path.read_bytes(), kind, _FOR_GOOD if name.startswith(_NAMED_BY_CONTENT) else "no-store")
    return found
