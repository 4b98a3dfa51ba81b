"""What a run's verdicts say after the fact: who was kept out, and whose updates entered the model despite an alarm."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from skerry.records import Action, Reason, Score, Verdict

__all__ = ["DeviceRecord", "verdict_record"]

# A device may fail, it may be slower than others, and it may decline.
_ABSENT = {Reason.NO_REPLY, Reason.LATE, Reason.NOT_AWAITED, Reason.ERROR, Reason.REFUSED, Reason.NOT_ENROLLED}


@dataclass(frozen=True)
class DeviceRecord:
    """One device about which anything was said.

    Attributes:
        device: its name.
        kept_out: rounds in which its update was there and did not enter the average, or was not asked for any more.
        despite: rounds in which it entered although a detector's figure lay outside its limits, or shortened.
        quarantined: whether it was in quarantine at the end.
        says: the last such sentences, one for each detector.
    """

    device: str
    kept_out: int
    despite: int
    quarantined: bool
    says: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def verdict_record(verdicts: Iterable[Verdict]) -> tuple[DeviceRecord, ...]:
    """Devices of whose updates anything was said, by name; ``verdicts`` in the order of rounds."""
    by_device: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_device.setdefault(verdict.device, []).append(verdict)
    found = (_record(device, by_device[device]) for device in sorted(by_device))
    return tuple(record for record in found if record.kept_out or record.despite)


def _record(device: str, verdicts: list[Verdict]) -> DeviceRecord:
    alarms = {score.detector: score.sentence for verdict in verdicts for score in verdict.scores if _outside(score)}
    return DeviceRecord(
        device,
        kept_out=sum(not verdict.kept and not _ABSENT.issuperset(verdict.reasons) for verdict in verdicts),
        despite=sum(verdict.kept and _alarmed(verdict) for verdict in verdicts),
        quarantined=any(verdict.action is Action.QUARANTINE for verdict in verdicts),
        says=tuple(alarms.values()),
    )


def _alarmed(verdict: Verdict) -> bool:
    return verdict.scale < 1 or bool(verdict.reasons) or any(map(_outside, verdict.scores))


def _outside(score: Score) -> bool:
    below = score.low is not None and score.value < score.low
    return below or (score.high is not None and score.value > score.high)
