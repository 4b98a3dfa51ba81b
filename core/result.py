"""``result.json``: what one run reached, spent, defended, cost and delivered, and where the evidence lies.

The schema is versioned (``schema: 1``). A figure that is not known is ``null``, never a guess; NaN and
infinity are refused; an ε cannot be written without its δ, unit and neighbouring relation.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from skerry.errors import InputError
from skerry.fsio import write_json
from skerry.participation import Participation
from skerry.result_audit import Audit

__all__ = [
    "CLAIMS",
    "Claim",
    "Cost",
    "Defence",
    "Delivery",
    "DeviceEpsilon",
    "DeviceQuality",
    "DevicesEpsilon",
    "Evidence",
    "Measured",
    "Metrics",
    "Privacy",
    "Quality",
    "Reference",
    "References",
    "Result",
    "RunInfo",
    "Spread",
    "load_result",
    "write_result",
]


@dataclass(frozen=True)
class Claim:
    """A figure that reports speak of: its path in ``result.json``, its words, and its key in ``evidence``."""

    figure: str
    words: str
    evidence: str


CLAIMS = (
    Claim("quality.base.accuracy", "Accuracy before training", "quality.base"),
    Claim("quality.final.accuracy", "Accuracy after training", "quality.final"),
    Claim("quality.agreement", "Float and int8 predictions agree", "quality.agreement"),
    Claim("quality.references.non_private.accuracy", "Accuracy without privacy", "quality.references"),
    Claim("quality.references.undefended.accuracy", "Accuracy without defence", "quality.references"),
    Claim("privacy.epsilon_rdp", "Privacy spent, by RDP", "privacy.devices"),
    Claim("privacy.epsilon_pld", "Privacy spent, by PLD", "privacy.devices"),
    Claim("privacy.audit.epsilon_lower_bound", "Privacy spent, at least (audit)", "privacy.audit"),
    Claim("defence.flagged", "Devices flagged", "defence.verdicts"),
    Claim("defence.recall", "Attackers that were flagged", "defence.verdicts"),
    Claim("defence.precision", "Flagged devices that attacked", "defence.verdicts"),
    Claim("cost.bytes_up", "Bytes sent by devices", "cost"),
    Claim("cost.wall_s", "Wall-clock time", "cost.wall_s"),
    Claim("delivery.manifest_digest", "Model delivered", "delivery"),
)

Rate = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class RunInfo(_Part):
    """Which run this is. Times are ISO 8601, UTC; of ``rounds`` asked for, ``rounds_done`` were finished."""

    id: str
    scenario: str
    engine: str
    seed: int
    versions: dict[str, str | None]
    state: Literal["complete", "interrupted", "failed"]
    rounds_done: Count
    rounds: Count
    started: str
    finished: str | None = None
    simulated: bool = True


class Metrics(_Part):
    """Accuracy, mean cross-entropy (nats) and expected calibration error (15 bins) on held-out devices."""

    accuracy: Rate | None = None
    loss: NonNegative | None = None
    ece: Rate | None = None


class Spread(_Part):
    """Percentiles of accuracy over held-out devices."""

    p10: Rate
    p50: Rate
    p90: Rate


class Measured(Metrics):
    """One model, measured: its own figures are those of the deployed int8 model."""

    floating: Metrics | None = Field(None, alias="float")
    int8: Metrics | None = None
    per_device: Spread | None = None


class Reference(_Part):
    """The same federation run otherwise; ``by_round[i]`` is the accuracy after round ``i + 1``."""

    accuracy: Rate
    by_round: tuple[Rate, ...] = ()


class References(_Part):
    """What the run is compared with: no privacy (nor attackers); and the same attackers without defence."""

    non_private: Reference | None = None
    undefended: Reference | None = None


class DeviceQuality(_Part):
    """Accuracy on one device's own examples; a training device is measured in simulation only.

    Every held-out device is measured, and forty training devices at most, evenly spaced in the order of their names.
    """

    role: Literal["held_out", "training"]
    before: Rate | None = None
    after: Rate | None = None
    note: str | None = None


class Quality(_Part):
    """How good the model is. ``agreement``: share of held-out examples that float and int8 label alike."""

    base: Measured | None = None
    final: Measured | None = None
    agreement: Rate | None = None
    references: References = References()
    held_out: tuple[str, ...] = ()
    devices: dict[str, DeviceQuality] = Field(default_factory=dict)


class DeviceEpsilon(_Part):
    """What one device spent over the run, at the run's δ; ``rounds`` it was debited for; its ledger's ``head``.

    Of a device of a fleet: what it was asked to spend, for how many rounds its receipt is held, and the newest head
    that it signed.
    """

    epsilon_rdp: NonNegative | None = None
    epsilon_pld: NonNegative | None = None
    rounds: Count
    head: str | None = None


class DevicesEpsilon(_Part):
    """RDP ε over devices: the largest, the median, and each."""

    max: NonNegative | None = None
    median: NonNegative | None = None
    per_device: dict[str, DeviceEpsilon] = Field(default_factory=dict)


class Privacy(_Part):
    """What was spent. ``epsilon_rdp`` and ``epsilon_pld`` are those of the device that spent most.

    ``min_separation``: rounds from one participation of a device to its next, at least, which the noise counts on.

    ``simulated``: noise came from a seeded stream, so the figures describe the mechanism, not a protection of
    this run's data.
    """

    unit: Literal["example", "device", "none"]
    relation: str | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    epsilon_budget: NonNegative | None = None
    epsilon_rdp: NonNegative | None = None
    epsilon_pld: NonNegative | None = None
    noise_multiplier: NonNegative | None = None
    mechanism: str | None = None
    sampling: str | None = None
    min_separation: Annotated[int, Field(ge=1)] | None = None
    devices: DevicesEpsilon = DevicesEpsilon()
    audit: Audit | None = None
    assumptions: tuple[str, ...] = ()
    simulated: bool

    @model_validator(mode="after")
    def _epsilon_is_qualified(self) -> Self:
        figures = (self.epsilon_budget, self.epsilon_rdp, self.epsilon_pld)
        some = any(value is not None for value in (*figures, self.devices.max, self.devices.median))
        if some and (self.unit == "none" or self.delta is None or self.relation is None):
            raise ValueError("an epsilon needs a delta, a relation, and a unit other than 'none'")
        return self


class Defence(_Part):
    """Who attacked, who was flagged; ``false_quarantines`` counts honest devices.

    Over a fleet ``attack`` is ``unknown``, and nothing is said that only a simulation knows.

    ``backdoor_success``: how often the attackers' trigger works on held-out devices, and on the base, which has no
    backdoor; None where none was planted.
    ``excluded`` devices were in quarantine before the run and asked nothing; they are in no other list.
    """

    aggregator: str
    tolerate: Count | None = None
    screen: tuple[str, ...] = ()
    attack: str = "none"
    attackers: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    precision: Rate | None = None
    recall: Rate | None = None
    false_quarantines: Count | None = None
    backdoor_success: Rate | None = None
    backdoor_success_base: Rate | None = None
    note: str | None = None


class Cost(_Part):
    """Seconds, bytes, peak resident memory (MiB); ``stages`` sums each stage's seconds over rounds.

    Of a run that was resumed, bytes and stages are those of all rounds: what was sent again counts once, and the stages
    of the round in which it stopped are those of the process that finished it. ``wall_s`` is the time from its first
    start to its end, the pause included. ``compute_s``, ``peak_rss_mb`` and the stages ``device: …`` are those of the
    process that ended it: what devices did before counts under ``collect``.
    """

    wall_s: NonNegative | None = None
    compute_s: NonNegative | None = None
    bytes_up: Count | None = None
    bytes_down: Count | None = None
    peak_rss_mb: NonNegative | None = None
    stages: dict[str, NonNegative] = Field(default_factory=dict)


class Delivery(_Part):
    """The signed and encrypted release; ``bytes`` is all of it, ``delta_bytes`` the part a device lacks."""

    name: str
    version: Count
    bytes: Count
    delta_bytes: Count | None = None
    recipients: Count
    manifest_digest: str


class Evidence(_Part):
    """Where a claim can be checked: hash of a ledger entry, the ledger's head, a file relative to the run."""

    leaf: str | None = None
    checkpoint: str | None = None
    file: str | None = None


class Result(_Part):
    """The whole document."""

    schema_: Literal[1] = Field(1, alias="schema")
    run: RunInfo
    quality: Quality = Quality()
    robustness: dict[str, Rate] = Field(default_factory=dict)
    privacy: Privacy
    defence: Defence
    cost: Cost = Cost()
    delivery: Delivery | None = None
    participation: Participation | None = None
    evidence: dict[str, Evidence] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def figure(self, claim: str) -> object:
        """The value at a dotted path such as ``quality.final.accuracy``; None where it is not known.

        Raises:
            KeyError: the schema has no such path.
        """
        value: object = self
        for part in claim.split("."):
            if value is None:
                return None
            if not isinstance(value, BaseModel) or part not in type(value).model_fields:
                raise KeyError(claim)
            value = getattr(value, part)
        return value


def load_result(path: Path) -> Result:
    """Read ``result.json``, or the one in a run's folder.

    Raises:
        InputError: the file is missing, is not JSON, has another schema version, or breaks the schema.
    """
    path = path / "result.json" if path.is_dir() else path
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise InputError(
            "there is no result yet", where=str(path), mend="`skerry runs show` says how far the run came"
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"the result cannot be read: {error}", where=str(path), mend=_RUN_AGAIN) from error
    version = value.get("schema") if isinstance(value, dict) else None
    if version != 1:
        raise InputError(
            f"this is not a result of schema 1 (schema: {version!r})",
            where=str(path),
            mend="read it with the version of skerry that wrote it",
        )
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_url=False)]
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError("; ".join(faults[:3]) + more, where=str(path), mend=_RUN_AGAIN) from error


def write_result(path: Path, result: Result) -> None:
    """Write ``result.json`` atomically and durably."""
    write_json(path, result.to_json())


_RUN_AGAIN = "the file was changed or damaged after the run; run the scenario again"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
