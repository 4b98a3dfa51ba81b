"""What a device tells its federation of how it is: steps of a scale, never a measurement (``device.proto``).

Four words: what it does, and how much battery, memory and disk there is, each below a tenth, a quarter, three quarters,
or more. No name, no time, no temperature, no capability.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.host import Host
from skerry.device.agent.memory import free_memory, total_memory
from skerry.device.agent.power import read_power
from skerry.device.service import device_pb2 as pb

__all__ = ["condition", "level", "words"]

_ACTIVITIES: Mapping[LapseReason, "pb.Activity"] = MappingProxyType(
    {
        LapseReason.PAUSED: pb.ACTIVITY_PAUSED_BY_OWNER,
        LapseReason.QUIET_HOURS: pb.ACTIVITY_PAUSED_BY_OWNER,
        LapseReason.POWER: pb.ACTIVITY_WAITING_FOR_POWER,
        LapseReason.NETWORK: pb.ACTIVITY_WAITING_FOR_NETWORK,
        LapseReason.HEAT: pb.ACTIVITY_TOO_HOT,
    }
)


def condition(host: Host, home: Path, lapses: tuple[Lapse, ...], *, training: bool) -> "pb.Condition":
    """The device's condition in the words of the device service.

    Args:
        host: where to look.
        home: the device's folder, for the disk.
        lapses: what keeps it from working; the first one that the scale has a word for is told.
        training: whether it trains now.
    """
    told = next((_ACTIVITIES[lapse.reason] for lapse in lapses if lapse.reason in _ACTIVITIES), None)
    charge = read_power(host).battery_percent
    free, whole = free_memory(host), total_memory(host)
    disk_free, disk = host.disk(home)
    return pb.Condition(
        activity=told or (pb.ACTIVITY_TRAINING if training else pb.ACTIVITY_IDLE),
        battery=level(None if charge is None else charge / 100),
        free_memory=level(free / whole if free is not None and whole else None),
        free_disk=level(disk_free / disk if disk else None),
    )


def level(share: float | None) -> "pb.Level":
    """The step of a share between 0 and 1; unspecified where it is not known."""
    if share is None:
        return pb.LEVEL_UNSPECIFIED
    if share < 0.1:
        return pb.LEVEL_NEARLY_NONE
    if share < 0.25:
        return pb.LEVEL_LITTLE
    return pb.LEVEL_HALF if share < 0.75 else pb.LEVEL_PLENTY


def words(told: "pb.Condition") -> dict[str, str]:
    """The same for a person, the device's owner or the federation's operator."""
    levels = {name: pb.Level.Name(getattr(told, name)) for name in ("battery", "free_memory", "free_disk")}
    return {"activity": pb.Activity.Name(told.activity), **levels}
