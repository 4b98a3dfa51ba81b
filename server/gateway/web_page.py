"""Pages for browsers: static files under a strict policy; the phone's as ``make web`` built it and packaging took it.

The files are read once, when the gateway starts, and only what was read then is served: no request's path is ever
joined to a folder. A page is the same for everybody and holds nothing secret, so nobody signs for it.
"""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from skerry.server.gateway.answers import FIXED_HEADERS, InParts
from skerry.server.gateway.reception import Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["BUILT", "page_routes", "web_page_routes"]

BUILT = Path(__file__).with_name("web-page")
"""Where the build puts the page; absent in a clone in which nobody has built it."""

_KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; worker-src 'self'; manifest-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WASM = " 'wasm-unsafe-eval'"
_NOT_BUILT = "this installation holds no page: `make web` builds it in a clone, `make wheel` makes a package with it"
_HEADERS = {
    **FIXED_HEADERS,
    # a page that shares its process with no other origin may use threads
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}
_FIRST = "index.html"
_PACKED = ".br"
_NAMED_BY_CONTENT = "assets/"
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _File:
    content: bytes
    packed: bytes | None  # the same under Brotli, where the build made it smaller
    kind: str
    caching: str


def web_page_routes(reception: Reception, built: Path = BUILT) -> list[Route]:
    """The phone's page at ``/phone/``, which compiles WebAssembly; see :func:`page_routes`."""
    return page_routes("/phone", built, reception, policy=_POLICY.format(scripts=_WASM))


def page_routes(
    at: str, folder: Path, reception: Reception, *, policy: str = _POLICY.format(scripts="")
) -> list[Route]:
    """``<at>/`` (the page), ``<at>/<file>``, and ``<at>``, from where a browser is sent to the page.

    Args:
        at: a path of one segment.
        folder: of the page's files.
        reception: holds strangers to sizes and rates.
        policy: the Content-Security-Policy.
    """
    files = _read(folder)

    async def file(request: Request) -> Response:
        await reception.stranger(request, body_limit=0)
        found = files.get(request.path_params["path"] or _FIRST)
        if found is None:
            what = "there is no such file of the page" if files else _NOT_BUILT
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, what)
        headers = {**_HEADERS, "content-security-policy": policy, "cache-control": found.caching}
        if found.packed is None:
            return InParts(found.content, headers=headers, media_type=found.kind)
        headers["vary"] = "accept-encoding"
        if not _takes_brotli(request.headers.get("accept-encoding", "")):
            return InParts(found.content, headers=headers, media_type=found.kind)
        return InParts(found.packed, headers={**headers, "content-encoding": "br"}, media_type=found.kind)

    async def to_page(request: Request) -> Response:
        await reception.stranger(request, body_limit=0)
        return RedirectResponse(f"{at}/", 308, headers=FIXED_HEADERS)

    return [Route(at, to_page, methods=["GET"]), Route(f"{at}/{{path:path}}", file, methods=["GET"])]


def _takes_brotli(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` names ``br`` without a weight; one with a weight gets what everybody can read."""
    return "br" in {part.strip() for part in accepted.split(",")}


def _read(built: Path) -> dict[str, _File]:
    """Every file of the page by its path below the folder; links are passed over, and kinds that are not ours."""
    found: dict[str, _File] = {}
    for path in sorted(built.rglob("*")):
        kind = _KINDS.get(path.suffix)
        if kind is None or path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(built).as_posix()
        caching = _FOR_GOOD if name.startswith(_NAMED_BY_CONTENT) else "no-store"
        found[name] = _File(path.read_bytes(), _packed(path), kind, caching)
    return found


def _packed(path: Path) -> bytes | None:
    beside = path.with_name(path.name + _PACKED)
    return beside.read_bytes() if beside.is_file() and not beside.is_symlink() else None
