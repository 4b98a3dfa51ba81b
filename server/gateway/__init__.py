"""The gateway: the one public HTTPS port of a federation (see :mod:`~skerry.server.gateway.app` for its routes)."""

from skerry.server.gateway.app import gateway
from skerry.server.gateway.fleet import FLEET_CALLS
from skerry.server.gateway.nodes import SuperlinkNodes
from skerry.server.gateway.reception import GatewayLimits
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.serving import event_loops, gateway_server
from skerry.server.gateway.superlink_line import SuperlinkLine

__all__ = [
    "FLEET_CALLS",
    "GatewayLimits",
    "GatewayRefusal",
    "SuperlinkLine",
    "SuperlinkNodes",
    "TurnedAwayError",
    "event_loops",
    "gateway",
    "gateway_server",
]
