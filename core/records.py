"""The records that travel between rooms: frozen, typed, validated where they enter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest
from skerry.errors import InputError

__all__ = [
    "Action",
    "Examples",
    "Float32Array",
    "ParameterLayout",
    "Reason",
    "RoundRecord",
    "Score",
    "Verdict",
]

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of the trainable tensors, in the order in which they lie in the flat vector.

    The flat vector is ``(size,)`` float32, each tensor in C order, one after the other.
    """

    tensors: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def size(self) -> int:
        """Number of scalars d."""
        return sum(prod(shape) for _, shape in self.tensors)

    @cached_property
    def digest(self) -> str:
        """Digest that two parties compare before they exchange vectors."""
        return digest([[name, list(shape)] for name, shape in self.tensors])

    def split(self, vector: Float32Array) -> dict[str, Float32Array]:
        """Views of the flat vector, by name.

        Raises:
            InputError: the vector's length is not :attr:`size`.
        """
        if vector.shape != (self.size,):
            raise InputError(f"expected a vector of {self.size} numbers, got shape {vector.shape}")
        parts: dict[str, Float32Array] = {}
        start = 0
        for name, shape in self.tensors:
            stop = start + prod(shape)
            parts[name] = vector[start:stop].reshape(shape)
            start = stop
        return parts

    def join(self, parts: Mapping[str, npt.NDArray[Any]]) -> Float32Array:
        """The flat float32 vector of named tensors (a copy)."""
        return np.concatenate([np.asarray(parts[name], np.float32).ravel() for name, _ in self.tensors])


@dataclass(frozen=True)
class Examples:
    """Labelled pictures or windows.

    Attributes:
        x: ``(n, height, width, channels)`` uint8, or another array whose first axis is the example.
        y: ``(n,)`` int64 class indices.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def select(self, index: npt.NDArray[Any]) -> "Examples":
        """The examples at ``index`` (integers or a mask)."""
        return Examples(self.x[index], self.y[index])

    @staticmethod
    def concatenate(parts: Sequence["Examples"]) -> "Examples":
        """All examples of several holders, in order."""
        return Examples(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]))


class Reason(StrEnum):
    """Why a reply was dropped or a device flagged; stable codes in ``verdicts.jsonl``."""

    NOT_AUTHENTIC = "not_authentic"
    NOT_FOR_US = "not_for_us"
    STALE = "stale"
    REPLAYED = "replayed"
    REFUSED = "refused_by_device"
    NO_REPLY = "no_reply"
    LATE = "late"
    NOT_AWAITED = "not_awaited"
    NOT_ENROLLED = "not_enrolled"
    ERROR = "device_error"
    SHAPE = "shape"
    NOT_FINITE = "finite"
    NORM = "norm"
    COSINE = "cosine"
    SIMILARITY = "similarity"
    NOVELTY = "novelty"
    FOREIGN = "foreign"
    SPECTRAL = "spectral"
    CLUSTERING = "clustering"
    ROOT_SET = "root_set"
    QUARANTINED = "quarantined"


class Action(StrEnum):
    """What the coordinator does with an update."""

    ACCEPT = "accept"
    CLIP = "clip"
    DROP = "drop"
    QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Score:
    """One detector's finding about one update: ``sentence`` explains it to an operator."""

    detector: str
    value: float
    low: float | None
    high: float | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What was decided about one device in one round, and on what evidence.

    ``scale`` is the factor under which the update enters the average, below 1 for ``clip``. ``propose_revocation`` says
    that nothing but breaches of public constants put the device into quarantine: a person should revoke its key.
    """

    round: int
    device: str
    action: Action
    reasons: tuple[Reason, ...] = ()
    scores: tuple[Score, ...] = ()
    scale: float = 1.0
    propose_revocation: bool = False

    @property
    def kept(self) -> bool:
        """True when the update enters the average."""
        return self.action in {Action.ACCEPT, Action.CLIP}

    def to_json(self) -> dict[str, Any]:
        """The line of ``verdicts.jsonl``."""
        return {
            "round": self.round,
            "device": self.device,
            "action": self.action.value,
            "reasons": [r.value for r in self.reasons],
            "scores": [s.__dict__ for s in self.scores],
            "scale": self.scale,
            "propose_revocation": self.propose_revocation,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Verdict":
        """Read back a line of ``verdicts.jsonl``."""
        return Verdict(
            round=value["round"],
            device=value["device"],
            action=Action(value["action"]),
            reasons=tuple(Reason(reason) for reason in value["reasons"]),
            scores=tuple(Score(**score) for score in value["scores"]),
            scale=value["scale"],
            propose_revocation=value["propose_revocation"],
        )


@dataclass(frozen=True)
class RoundRecord:
    """The line of ``rounds.jsonl``: what one round did, cost and reached.

    ``epsilon_max`` and ``epsilon_median`` are RDP figures over devices at the scenario's δ, None when the run protects
    nothing (there is no finite ε); accuracy and loss
    are through the int8 base on held-out devices. ``seconds`` has one entry per stage.
    """

    round: int
    accuracy: float
    loss: float
    epsilon_max: float | None
    epsilon_median: float | None
    accepted: tuple[str, ...]
    flagged: tuple[str, ...]
    dropped: Mapping[str, str]
    bytes_down: int
    bytes_up: int
    seconds: Mapping[str, float]
    vector_digest: str
    finished_ms: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            **{k: v for k, v in self.__dict__.items() if k not in {"accepted", "flagged", "extra"}},
            "accepted": list(self.accepted),
            "flagged": list(self.flagged),
            "dropped": dict(self.dropped),
            "seconds": dict(self.seconds),
            **self.extra,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "RoundRecord":
        """Read back a line of ``rounds.jsonl``."""
        known = {k: v for k, v in value.items() if k in RoundRecord.__dataclass_fields__}
        extra = {k: v for k, v in value.items() if k not in known}
        known["accepted"], known["flagged"] = tuple(known["accepted"]), tuple(known["flagged"])
        return RoundRecord(**known, extra=extra)
