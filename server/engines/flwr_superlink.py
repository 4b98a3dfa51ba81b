"""Flower's SuperLink, by a shorter way to what devices and coordinators call: with the same arguments as the program.

Flower leads every request through nine layers. Six of them let pass whatever is not of the Control API, or do nothing
without a plugin or a switch that skerry does not use; but each costs 0.4 ms of the processor, of which a round has one
per request and the SuperLink a single one. So calls of the Fleet and Runtime APIs go past those six. What translates,
authenticates and answers them is Flower's own, unchanged.
"""

from importlib import import_module
from typing import Any

from skerry.server.engines.flwr_adapter import internals, require_flwr

__all__ = ["PASSED", "Past", "main"]

_PAST = ("/v1/fleet/", "/v1/runtime/")
PASSED = frozenset(
    {
        "ControlSensitiveResponseMiddleware",
        "ControlAuthenticationMiddleware",
        "ControlLicenseMiddleware",
        "ControlEventLogMiddleware",
        "FleetEventLogMiddleware",
        "RuntimeTracingMiddleware",
    }
)
"""Layers that calls of the Fleet and Runtime APIs go past."""


class Past:
    """A layer that requests of some paths go past; ASGI.

    Args:
        app: what lies within the layer.
        layer: makes the layer around an app.
        paths: beginnings of the paths of those requests.
    """

    def __init__(self, app: Any, layer: Any, paths: tuple[str, ...] = _PAST) -> None:
        self._within, self._layer, self._paths = app, layer.cls(app, *layer.args, **layer.kwargs), paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Go past it, or through it."""
        past = scope["type"] == "http" and scope["path"].startswith(self._paths)
        await (self._within if past else self._layer)(scope, receive, send)


def main() -> None:
    """Run until it is told to end."""
    require_flwr()
    with internals("the layers of the SuperLink"):
        from flwr.superlink.cli.flower_superlink import flower_superlink
        from starlette.middleware import Middleware

        parts: Any = import_module("flwr.superlink.main")
        given = parts._get_middleware  # noqa: SLF001 - Flower has no other way to go past a layer

        def layers() -> list[Any]:
            return [Middleware(Past, one) if one.cls.__name__ in PASSED else one for one in given()]

        parts._get_middleware = layers  # noqa: SLF001
    flower_superlink()


if __name__ == "__main__":
    main()
