"""A device profile: what was measured of a model on a machine, in one JSON file, and two of them compared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from skerry.device.bench.machine import Machine
from skerry.device.bench.records import Measurement, Settings
from skerry.errors import InputError
from skerry.fsio import home, write_json

__all__ = ["Comparison", "Measured", "Profile", "compare", "load_profile", "profile_path", "save_profile", "to_json"]

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


@dataclass(frozen=True)
class Measured:
    """The model that was measured.

    Attributes:
        name: as the user named it, without folders: they may name the user.
        kind: ``onnx``, ``graph``, ``network``, ``base`` or ``run``.
        input_shape: of one example, ``(channels, height, width)``.
        files: SHA-256 by precision and runtime, as ``int8 onnxruntime``.
        note: what a reader should know of how it was made, or "".
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    files: dict[str, str]
    note: str


@dataclass(frozen=True)
class Profile:
    """Everything that one call of ``skerry model bench`` found.

    Attributes:
        schema: of this file.
        recorded_ms: when, in milliseconds since the Unix epoch.
        machine: what it was measured on.
        versions: of packages.
        model: what was measured.
        settings: how much was measured.
        absent: runtimes that were not measured, with the reason.
        measurements: one for each cell.
    """

    schema: Literal[1]
    recorded_ms: int
    machine: Machine
    versions: dict[str, str]
    model: Measured
    settings: Settings
    absent: dict[str, str]
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Comparison:
    """One cell that two profiles have in common; ratios are this one's over the other's.

    Attributes:
        key: runtime, precision, threads, condition.
        p50_ms: here and there.
        p50: ratio of medians.
        p95: ratio of 95th percentiles.
        cold: ratio of cold starts.
        peak_rss: ratio of peak resident memory.
    """

    key: tuple[str, str, int, str]
    p50_ms: tuple[float, float] | None
    p50: float | None
    p95: float | None
    cold: float | None
    peak_rss: float | None


_PROFILE = TypeAdapter(Profile)


def profile_path(name: str) -> Path:
    """Where a profile lies: under skerry's home for a plain name, else at that path.

    Raises:
        InputError: neither a plain name nor a path of a ``.json`` file.
    """
    if _NAME.match(name) and not name.endswith(".json"):
        return home() / "profiles" / f"{name}.json"
    if name.endswith(".json"):
        return Path(name).expanduser()
    raise InputError(
        f"{name!r} is not the name of a profile",
        mend="use letters, digits, '.', '_', '-', or a path that ends in .json",
    )


def to_json(profile: Profile) -> Mapping[str, Any]:
    """As plain values; the same as in the file."""
    value: dict[str, Any] = _PROFILE.dump_python(profile, mode="json")
    return value


def save_profile(profile: Profile, name: str) -> Path:
    """Write it, and say where."""
    path = profile_path(name)
    write_json(path, to_json(profile))
    return path


def load_profile(name: str) -> Profile:
    """A profile by its name or path.

    Raises:
        InputError: there is none, or the file is not a profile.
    """
    path = profile_path(name)
    try:
        return _PROFILE.validate_json(path.read_bytes())
    except OSError as error:
        known = sorted(p.stem for p in (home() / "profiles").glob("*.json"))
        mend = f"saved here: {', '.join(known)}" if known else "save one with `skerry model bench --save-profile NAME`"
        raise InputError(f"there is no profile {name!r}", where=str(path), mend=mend) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InputError(f"this is not a device profile: {place}: {fault['msg']}", where=str(path)) from error


def compare(profile: Profile, other: Profile) -> tuple[Comparison, ...]:
    """The cells that both have measured, in the order of the first."""
    theirs = {m.key: m for m in other.measurements if not m.skipped}
    found = []
    for mine in profile.measurements:
        there = theirs.get(mine.key)
        if there is None or mine.skipped:
            continue
        a, b = mine.latency, there.latency
        found.append(
            Comparison(
                mine.key,
                (a.p50_ms, b.p50_ms) if a and b else None,
                a.p50_ms / b.p50_ms if a and b else None,
                a.p95_ms / b.p95_ms if a and b else None,
                mine.cold.total_ms / there.cold.total_ms if mine.cold and there.cold else None,
                mine.peak_rss_mb / there.peak_rss_mb if mine.peak_rss_mb and there.peak_rss_mb else None,
            )
        )
    return tuple(found)
