"""What is known of enrolled devices, as far as a condition names it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from skerry.device.service import device_pb2 as pb
from skerry.server.federation_home import FederationHome
from skerry.server.registry import Registry, Standing
from skerry.server.registry.enrolled import Enrolled
from skerry.server.service.inbox import Inbox, LastCondition
from skerry.where import FACTS, LEVELS, DeviceFacts, Source, Where

__all__ = ["HALF_LIFE_DAYS", "facts_of"]

HALF_LIFE_DAYS = 30.0
"""Of the evidence that ``trust`` is made of, as everywhere where nobody says another."""

_DAY_MS = 86_400_000
_STALE_MS = _DAY_MS  # what a device told longer ago is not known any more
_LEVELS: Mapping[int, str] = MappingProxyType(
    dict(zip((pb.LEVEL_NEARLY_NONE, pb.LEVEL_LITTLE, pb.LEVEL_HALF, pb.LEVEL_PLENTY), LEVELS, strict=True))
)


def facts_of(
    runs: Path, enrolments: Iterable[Enrolled], where: Where, now: int, *, half_life_days: float = HALF_LIFE_DAYS
) -> dict[str, DeviceFacts]:
    """Each device by name, without what runs have asked of it.

    Registry and inbox are read for what the condition names, and for nothing else.

    Args:
        runs: folder of runs.
        enrolments: of the devices, one for each.
        where: the condition.
        now: ms since the epoch.
        half_life_days: after which evidence of trust counts half.

    Raises:
        RegistryError: the registry cannot be read.
    """
    standings: dict[int, Standing] = {}
    told: dict[str, LastCondition] = {}
    if where.names & {"trust", "days_silent"}:
        registry = Registry(runs, upgrade=False)
        standings = {one.device.id: one for one in registry.standings(now, half_life_days)}
    inbox = FederationHome(runs).inbox
    if any(FACTS[name].source is Source.DEVICE for name in where.names - {"tag"}) and inbox.exists():
        told = {one.device: one for one in Inbox(inbox, most=0).conditions() if now - one.at < _STALE_MS}
    return {
        one.device.name: _facts(one, standings.get(one.device.id), told.get(one.device.name), now) for one in enrolments
    }


def _facts(entry: Enrolled, standing: Standing | None, told: LastCondition | None, now: int) -> DeviceFacts:
    seen = None if standing is None else standing.last_seen
    return DeviceFacts(
        name=entry.device.name,
        device_class=entry.device_class,
        tags=frozenset(entry.tags),
        trust=0.5 if standing is None else standing.reputation.score,
        days_silent=float("inf") if seen is None else max(0.0, (now - seen) / _DAY_MS),
        battery=None if told is None else _LEVELS.get(told.battery),
        free_memory=None if told is None else _LEVELS.get(told.free_memory),
        free_disk=None if told is None else _LEVELS.get(told.free_disk),
    )
