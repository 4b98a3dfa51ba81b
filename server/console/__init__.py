"""The operator's console at ``/console/`` of the gateway: who may see it, what it shows as it happens, what it can do.

1. a *link* lets somebody in once (:mod:`~skerry.server.console.links`), who then has a *session* in a cookie
   (:mod:`~skerry.server.console.sessions`);
2. *facts* are read from the folder of runs as they change (:mod:`~skerry.server.console.overview`);
3. what changed goes to all who look, as events in order (:mod:`~skerry.server.console.feed`);
4. *actions* are those of the command line (:mod:`skerry.server.operations`).
"""

from skerry.server.console.links import Admitted, ConsoleRole, Links
from skerry.server.console.overview import Overview
from skerry.server.console.routes import Console

__all__ = ["Admitted", "Console", "ConsoleRole", "Links", "Overview"]
