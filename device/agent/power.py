"""Where a device's power comes from, as the kernel tells it (Documentation/ABI/testing/sysfs-class-power)."""

from dataclasses import dataclass

from skerry.device.agent.host import Host

__all__ = ["Power", "read_power"]

_FED = {"charging", "full", "not charging"}  # "not charging": held at a limit, with the adapter in


@dataclass(frozen=True)
class Power:
    """What a device runs from now.

    Attributes:
        external: it runs from a socket; so does a device that has no battery.
        battery_percent: mean charge of its batteries; None where the kernel knows of none.
    """

    external: bool
    battery_percent: float | None


def read_power(host: Host) -> Power:
    """The device's own supplies; batteries of mice and headsets (scope ``Device``) are none."""
    charges, states, socket = [], set(), False
    for supply in sorted((host.root / "sys/class/power_supply").glob("*")):
        if (host.text(supply / "scope") or "").lower() == "device":
            continue
        if host.text(supply / "type") == "Battery":
            charge = host.number(supply / "capacity")
            if charge is not None:
                charges.append(charge)
                states.add((host.text(supply / "status") or "unknown").lower())
        elif host.number(supply / "online") == 1:
            socket = True
    if not charges:
        return Power(external=True, battery_percent=None)
    fed = socket or bool(states & _FED)
    external = fed and "discharging" not in states  # whatever the adapter says: it may be too weak
    return Power(external, sum(charges) / len(charges))
