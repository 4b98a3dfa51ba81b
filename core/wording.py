"""How figures read: the same words on the terminal and in the report."""

from collections.abc import Sequence
from datetime import UTC, datetime

__all__ = [
    "UNKNOWN",
    "amount",
    "bar",
    "delta",
    "duration",
    "epsilon",
    "guarantee",
    "listing",
    "moment",
    "percent",
    "points",
    "size",
    "sparkline",
]

UNKNOWN = "–"
"""What stands where a figure is not known."""


def percent(value: float | None) -> str:
    """A share between 0 and 1 as ``82.1 %``."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def points(difference: float | None) -> str:
    """The difference of two shares in percentage points, with its sign: ``+16.9 points``."""
    return UNKNOWN if difference is None else f"{100 * difference:+.1f} points"


def epsilon(value: float | None) -> str:
    """An ε with two decimals, rounded up: a spent budget is never shown as less than it is."""
    if value is None:
        return UNKNOWN
    hundredths = -int(-(value * 100 - 1e-9) // 1)
    return f"{hundredths / 100:.2f}"


def delta(value: float | None) -> str:
    """A δ as ``1e-5``."""
    if value is None:
        return UNKNOWN
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def guarantee(spent: float | None, at: float | None, unit: str, relation: str | None) -> str:
    """An ε with everything that it means nothing without: ``ε = 7.93 at δ = 1e-5, example level, add/remove``."""
    if unit == "none" or spent is None:
        return "no privacy guarantee"
    return f"ε = {epsilon(spent)} at δ = {delta(at)}, {unit} level, {relation}"


def size(count: int | None) -> str:
    """Bytes in decimal units: ``812 B``, ``4.1 kB``, ``3.9 MB``."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """A time as ``0.35 s``, ``41 s``, ``2 min 05 s`` or ``3 h 10 min``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(count: int, noun: str, plural: str | None = None) -> str:
    """``no devices``, ``one device``, ``12 devices``: a count and its noun."""
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    word = small[count] if count < len(small) else f"{count:,}"
    return f"{word} {noun if count == 1 else plural or noun + 's'}"


def listing(names: Sequence[str], limit: int = 6) -> str:
    """``a, b and c``; beyond ``limit`` names the rest is counted."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def moment(ms: int | None) -> str:
    """Milliseconds since the epoch as ``2026-11-26 12:30``, UTC."""
    return UNKNOWN if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def bar(share: float, width: int = 10) -> str:
    """A share between 0 and 1 as a bar: ``███░░░░░░░``."""
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full)


def sparkline(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """One block a value, its height between ``low`` and ``high`` (else between the least and the greatest)."""
    blocks = "▁▂▃▄▅▆▇█"
    bottom, top = min(values, default=0.0) if low is None else low, max(values, default=0.0) if high is None else high
    span = top - bottom
    shares = [(value - bottom) / span if span > 0 else 0.0 for value in values]
    return "".join(blocks[round(min(1.0, max(0.0, share)) * (len(blocks) - 1))] for share in shares)
