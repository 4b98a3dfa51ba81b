"""What coordinator and device say to each other inside sealed envelopes.

An :class:`Instruction` travels down, an :class:`Update` (or a refusal's reason) travels up. Both are canonical CBOR
with a fixed set of keys; vectors are little-endian float32 bytes. Keys of what few rounds ask for (a control variate, a
loss) are there in those rounds alone: who does not know them refuses the message, and does not train as if they were
not there. Everything a device needs in order to decide whether it may take part is inside the signed bytes; nothing
about its data leaves except the update itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from skerry.canonical import decode, encode
from skerry.device.training.plan import TrainPlan
from skerry.device.training.scaffold import check_scaffold
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.privacy.receipt import Receipt

__all__ = [
    "CHALLENGE_DOMAIN",
    "CONDITIONS_LAPSED",
    "Challenge",
    "CommonVariate",
    "Instruction",
    "Update",
    "from_bytes",
    "to_bytes",
]

CHALLENGE_DOMAIN = b"skerry/challenge/1"

CONDITIONS_LAPSED = "conditions_lapsed"
"""The reason of a refusal that holds for now: asked again under the same nonce, the device may answer otherwise."""

_LITTLE = np.dtype("<f4")


def to_bytes(vector: Float32Array) -> bytes:
    """Little-endian float32 bytes of a flat vector."""
    return np.ascontiguousarray(vector, _LITTLE).tobytes()


def from_bytes(data: bytes) -> Float32Array:
    """The read-only flat vector of :func:`to_bytes`.

    Raises:
        InputError: the length is not a multiple of four bytes.
    """
    if len(data) % 4:
        raise InputError(f"{len(data)} bytes are not a whole number of float32 values")
    return np.frombuffer(data, _LITTLE).astype(np.float32, copy=False)


_Kinds = Mapping[str, type | tuple[type, ...]]


def _fields(data: bytes, kinds: _Kinds, others: _Kinds = MappingProxyType({})) -> dict[str, Any]:
    return _checked(decode(data), kinds, others)


def _checked(value: object, kinds: _Kinds, others: _Kinds = MappingProxyType({})) -> dict[str, Any]:
    """A record that has all ``kinds``, and beside them nothing but ``others``."""
    if not isinstance(value, dict) or value.keys() - others.keys() != kinds.keys():
        raise InputError(f"expected a record with the keys {sorted(kinds)}")
    for key, kind in {**kinds, **others}.items():
        if key in value and not isinstance(value[key], kind):
            raise InputError(f"{key} has the wrong type {type(value[key]).__name__}")
    return value


@dataclass(frozen=True)
class Challenge:
    """The coordinator asks a node who it is; signed under :data:`CHALLENGE_DOMAIN`, not sealed (it tells nothing)."""

    run: str
    nonce: bytes
    expires: int

    def to_bytes(self) -> bytes:
        """Canonical bytes, which the coordinator signs."""
        return encode({"run": self.run, "nonce": self.nonce, "expires": self.expires})

    @staticmethod
    def from_bytes(data: bytes) -> "Challenge":
        """Parse.

        Raises:
            InputError: the bytes are not a challenge.
        """
        return Challenge(**_fields(data, {"run": str, "nonce": bytes, "expires": int}))


@dataclass(frozen=True)
class CommonVariate:
    """What a round of SCAFFOLD tells a device (:mod:`skerry.device.training.scaffold`).

    Attributes:
        vector: ``(d,)`` float32, the server's control variate c.
        counted: the last round whose update of this device the server counted; 0 where it counted none. The device's
            own variate is the one that it had after that round.
    """

    vector: Float32Array
    counted: int


@dataclass(frozen=True)
class Instruction:
    """One round's work for one device.

    Attributes:
        vector: ``(d,)`` float32, the trainable part to start from.
        layout: digest of the :class:`~skerry.records.ParameterLayout` that both sides must share.
        plan: how to train, and with which privacy.
        seed: simulation only; a real device refuses an instruction that carries one.
        variate: of SCAFFOLD; None in other rounds.
        loss: whether the device is to say the mean loss of ``vector`` on its examples, which no privacy unit allows.

    Raises:
        InputError: the plan is none for SCAFFOLD, or none under which a loss may be said.
    """

    vector: Float32Array
    layout: str
    plan: TrainPlan
    seed: int | None
    variate: CommonVariate | None = None
    loss: bool = False

    def __post_init__(self) -> None:
        if self.variate is not None:
            check_scaffold(self.plan)
            if self.variate.vector.shape != self.vector.shape or self.variate.counted < 0:
                raise InputError("a control variate has the shape of the vector, and belongs to no negative round")
        if self.loss and (self.plan.unit != "none" or self.plan.adversarial != "none" or self.plan.views != 1):
            raise InputError(
                "a loss tells of the data, and nothing here adds noise to it",
                mend="ask for losses under unit none, of examples as they are",
            )

    @cached_property
    def finite(self) -> bool:
        """Whether every weight is finite; looked at once, as devices of one process may share an instruction."""
        return bool(np.isfinite(self.vector).all())

    def to_bytes(self) -> bytes:
        """Canonical bytes, which are sealed to the device."""
        told: dict[str, Any] = {
            "vector": to_bytes(self.vector), "layout": self.layout, "plan": asdict(self.plan), "seed": self.seed
        }  # fmt: skip
        if self.variate is not None:
            told["variate"] = {"vector": to_bytes(self.variate.vector), "counted": self.variate.counted}
        if self.loss:
            told["loss"] = True
        return encode(told)

    @staticmethod
    def from_bytes(data: bytes) -> "Instruction":
        """Parse and validate.

        Raises:
            InputError: the bytes are not an instruction.
        """
        kinds: _Kinds = {"vector": bytes, "layout": str, "plan": dict, "seed": (int, type(None))}
        value = _fields(data, kinds, {"variate": dict, "loss": bool})
        try:
            plan = TrainPlan(**value["plan"])
        except (TypeError, ValueError) as error:
            raise InputError("the training plan is not valid") from error
        variate = None
        if "variate" in value:
            told = _checked(value["variate"], {"vector": bytes, "counted": int})
            variate = CommonVariate(from_bytes(told["vector"]), told["counted"])
        vector = from_bytes(value["vector"])
        return Instruction(vector, value["layout"], plan, value["seed"], variate, value.get("loss", False))


@dataclass(frozen=True)
class Update:
    """A device's answer: the change of the trainable part, and where its ledger stands.

    The three ledger fields, with run, round and device, are the :class:`~skerry.security.privacy.receipt.Receipt` whose
    digest stands in the envelope's header.

    Attributes:
        delta: ``(d,)`` float32, already clipped and noised when the plan's unit is ``example``.
        layout: digest of the layout.
        ledger_head: hash of the device's ledger entry that debited this round.
        ledger_size: number of entries of the ledger up to that one.
        ledger_root: root of the Merkle tree over them, in hex.
        loss: mean loss of the round's vector on the device's examples, in nats, where the instruction asks for it.
    """

    delta: Float32Array
    layout: str
    ledger_head: str
    ledger_size: int
    ledger_root: str
    loss: float | None = None

    def to_bytes(self) -> bytes:
        """Canonical bytes, which are sealed to the coordinator."""
        told: dict[str, Any] = {
            "delta": to_bytes(self.delta),
            "layout": self.layout,
            "ledger_head": self.ledger_head,
            "ledger_size": self.ledger_size,
            "ledger_root": self.ledger_root,
        }
        if self.loss is not None:
            told["loss"] = self.loss
        return encode(told)

    def receipt(self, run: str, round: int, device: str) -> Receipt:  # noqa: A002 - the field's word
        """What the device states of its ledger with this update."""
        return Receipt(run, round, device, self.ledger_head, self.ledger_size, self.ledger_root)

    @staticmethod
    def from_bytes(data: bytes) -> "Update":
        """Parse and validate; finiteness and length are the screen's business.

        Raises:
            InputError: the bytes are not an update.
        """
        kinds = {"delta": bytes, "layout": str, "ledger_head": str, "ledger_size": int, "ledger_root": str}
        value = _fields(data, kinds, {"loss": float})
        return Update(**value | {"delta": from_bytes(value["delta"])})
