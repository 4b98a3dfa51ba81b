"""Engines: the ways to bring one coordinator and its devices together.

Every engine runs the same ``ServerApp`` and the same ``ClientApp``; they differ in what lies between them:

===============  ==========================================================  ==========================
name             between coordinator and device                              for
===============  ==========================================================  ==========================
``inprocess``    a function call                                             experiments, tests, demo
``ray``          Flower's simulation: Ray actors here, or over a cluster     a check against Flower's own simulation
``superlink``    HTTPS: a SuperLink and one stock SuperNode per device       a check against the real network
``fleet``        HTTPS: the gateway and SuperLink of ``skerry server up``    real, enrolled devices
===============  ==========================================================  ==========================
"""

import os
from collections.abc import Callable

from skerry.errors import InputError
from skerry.server.engines.engine import Components, Engine
from skerry.server.engines.flwr_adapter import require_flwr

__all__ = ["ENGINES", "Components", "Engine", "get_engine"]


def _inprocess(processes: int = 1) -> Engine:
    from skerry.server.engines.inprocess import InProcessEngine

    return InProcessEngine(processes=processes)


def _ray() -> Engine:
    from skerry.server.engines.ray import ADDRESS_VARIABLE, RayEngine

    return RayEngine(address=os.environ.get(ADDRESS_VARIABLE) or None)


def _superlink() -> Engine:
    from skerry.server.engines.superlink import SuperlinkEngine

    return SuperlinkEngine()


def _fleet() -> Engine:
    from skerry.server.engines.fleet import FleetEngine

    return FleetEngine()


_MAKERS: dict[str, Callable[[], Engine]] = {
    "inprocess": _inprocess,
    "ray": _ray,
    "superlink": _superlink,
    "fleet": _fleet,
}

ENGINES: tuple[str, ...] = tuple(_MAKERS)
"""The names that ``--engine`` accepts; the first is the default."""


def get_engine(name: str, *, processes: int = 1) -> Engine:
    """The engine of that name; heavy libraries are imported here, not with the package.

    Args:
        name: one of :data:`ENGINES`.
        processes: that answer for devices; more than one only ``inprocess``.

    Raises:
        InputError: there is no such engine, or what says where it runs is no address.
        MissingDependencyError: Flower is missing, or has a version that is not supported.
    """
    if name not in _MAKERS:
        raise InputError(
            f"there is no engine {name!r}", where="--engine", mend=f"the engines are: {', '.join(ENGINES)}"
        )
    require_flwr()
    if processes != 1:
        if name != "inprocess" or processes < 1 or not hasattr(os, "fork"):
            raise InputError(
                f"the engine {name!r} does not run devices in {processes} processes of its own",
                where="--processes",
                mend="take at least one, with the engine inprocess, on Linux or macOS",
            )
        return _inprocess(processes)
    return _MAKERS[name]()
