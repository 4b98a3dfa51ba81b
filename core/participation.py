"""How evenly devices take part in a run: whose updates went into its rounds, how often, and who never did."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from skerry.records import Reason, RoundRecord
from skerry.wording import UNKNOWN, amount, listing, percent

__all__ = ["DeviceShare", "Participation", "gini", "participation", "participation_words"]

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]

_NAMED = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DeviceShare(_Part):
    """One device: rounds in which it was asked, in which its update went into the model, and in which it came late.

    ``share`` is that of all rounds in which its update counted. ``why`` says of a device without a single one what kept
    it out.
    """

    asked: Count
    counted: Count
    late: Count
    share: Share
    why: str | None = None


class Participation(_Part):
    """Of every device that could have taken part. ``gini`` is over the counted rounds: 0 where all have as many, near 1
    where one has them all; None where nobody's update counted.
    """

    rounds: Count
    devices: dict[str, DeviceShare] = Field(default_factory=dict)
    gini: Share | None = None
    least: Share | None = None
    most: Share | None = None

    @property
    def never(self) -> tuple[str, ...]:
        """Devices whose update counted in no round."""
        return tuple(name for name, one in self.devices.items() if not one.counted)


def participation(
    records: Sequence[RoundRecord], devices: Iterable[str], why: Mapping[str, str] | None = None
) -> Participation:
    """The figures of finished rounds.

    Args:
        records: of the rounds. Of a buffered run they are steps: a device counts as asked in the step that its answer
            reached.
        devices: that could have been asked; those that records name are added.
        why: what kept a device out that was never asked, where it is known.
    """
    asked: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    late: set[tuple[str, int]] = set()
    reasons: dict[str, Counter[str]] = {}
    for record in records:
        counted.update(record.accepted)
        asked.update({*record.accepted, *record.dropped, *record.flagged})
        late.update(record.extra.get("late", {}).items())
        late.update((device, record.round) for device, reason in record.dropped.items() if reason == Reason.LATE)
        for device, reason in record.dropped.items():
            reasons.setdefault(device, Counter())[reason] += 1
    late_rounds = Counter(device for device, _ in late)
    shares = {
        name: DeviceShare(
            asked=asked[name],
            counted=counted[name],
            late=late_rounds[name],
            share=counted[name] / len(records) if records else 0.0,
            why=None if counted[name] else _why(name, asked[name], reasons.get(name, Counter()), why or {}),
        )
        for name in sorted({*devices, *asked})
    }
    of_rounds = [one.share for one in shares.values()]
    return Participation(
        rounds=len(records),
        devices=shares,
        gini=gini([one.counted for one in shares.values()]),
        least=min(of_rounds, default=None),
        most=max(of_rounds, default=None),
    )


def gini(counts: Sequence[int]) -> float | None:
    """The Gini coefficient of counts, G = Σᵢⱼ|xᵢ - xⱼ| / (2n·Σx); None where they are all zero."""
    total, n = sum(counts), len(counts)
    if not total:
        return None
    weighted = sum((2 * place - n - 1) * count for place, count in enumerate(sorted(counts), start=1))
    return weighted / (n * total)


def participation_words(found: Participation) -> str:
    """The figures in one line."""
    if not found.rounds or not found.devices:
        return UNKNOWN
    words = f"each device in {percent(found.least)} to {percent(found.most)} of {amount(found.rounds, 'round')}"
    if found.gini is not None:
        words += f", Gini {found.gini:.2f}"
    if not found.never:
        return words
    told = [f"{name} ({found.devices[name].why})" for name in found.never[:_NAMED]]
    more = len(found.never) - len(told)
    return f"{words}; never: {listing(told)}{f' and {more} more' if more else ''}"


def _why(name: str, asked: int, reasons: Counter[str], why: Mapping[str, str]) -> str:
    if not asked:
        return why.get(name, "not asked")
    most, times = reasons.most_common(1)[0] if reasons else ("not accepted", asked)
    return f"asked in {amount(asked, 'round')}, {most} in {amount(times, 'round')}"
