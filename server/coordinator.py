"""The name under which a coordinator speaks, in simulation and to a fleet."""

from typing import Final

__all__ = ["COORDINATOR"]

COORDINATOR: Final = "coordinator"
