"""Vectors of what travels inside envelopes: challenges, instructions with their plans, updates; and what is refused."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

from skerry.canonical import decode, encode
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge, Instruction, Update
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError

from ._make_canonical import tagged
from ._numbers import dyadic, f32
from ._people import person

__all__ = ["make"]

_LAYOUT = HeadTrainer(3, 5).layout
_PRIVATE = TrainPlan(epochs=2, learning_rate=0.5, unit="example", clip=0.75, noise_multiplier=3, denominator=20)
_PLANS = {
    "private": _PRIVATE,
    "sampled": replace(_PRIVATE, sampling_rate=0.4, momentum=0.9, proximal=0.01, noise_multiplier=1.25),
    "unprotected": TrainPlan(learning_rate=1, unit="none", batch_size=8, gradient_clip=1.0),
    "central": TrainPlan(learning_rate=0.1, unit="device", noise_multiplier=2.0, rounds=5, cohort_rate=0.5),
    "correlated": TrainPlan(learning_rate=0.1, unit="device", noise_multiplier=2.0, rounds=5, separation=2),
    "attacked, each batch again": replace(_PRIVATE, sampling_rate=0.5, adversarial="free", adversarial_epsilon=0.1),
    "attacked": replace(_PRIVATE, adversarial="pgd", adversarial_epsilon=0.1, adversarial_norm="l2"),
    "attacked without privacy": TrainPlan(learning_rate=1, unit="none", adversarial="free", adversarial_epsilon=0.1),
    "views": replace(_PRIVATE, views=4, augment="shift"),
}
_WORDS = ("unit", "augment", "adversarial", "adversarial_norm", "engine")


def make() -> dict[str, Any]:
    """The file's content."""
    coordinator = person("coordinator")
    challenge = Challenge("digits-1", bytes(range(16)), 1_800_000_000_000)
    return {
        "source": "device/protocol.py, device/training/plan.py, core/records.py",
        "layout": {"classes": 3, "features": 5, "digest": _LAYOUT.digest},
        "challenge": {
            "run": challenge.run,
            "nonce": challenge.nonce.hex(),
            "expires": challenge.expires,
            "bytes": challenge.to_bytes().hex(),
            "coordinator": coordinator.public.to_json(),
            "signature": coordinator.sign(CHALLENGE_DOMAIN, challenge.to_bytes()).hex(),
        },
        "instructions": [_instruction(name, plan) for name, plan in _PLANS.items()],
        "refused": _refused(),
        "updates": [_update(label) for label in ("a", "b")],
    }


def _instruction(name: str, plan: TrainPlan) -> dict[str, Any]:
    vector = dyadic(name, _LAYOUT.size)
    seed = 7 if name == "sampled" else None
    data = Instruction(vector, _LAYOUT.digest, plan, seed).to_bytes()
    event = plan.event
    return {
        "bytes": data.hex(),
        "vector": f32(vector),
        "layout": _LAYOUT.digest,
        "seed": seed,
        "plan": tagged(asdict(plan)),
        "event": None if event is None else [event.noise_multiplier, event.sampling_rate, event.steps],
        "promise": plan.promise,
    }


def _update(label: str) -> dict[str, Any]:
    delta = dyadic(label, _LAYOUT.size)
    head, root = (hashlib.sha256(f"{label} {part}".encode()).hexdigest() for part in ("head", "root"))
    update = Update(delta, _LAYOUT.digest, head, len(label), root)
    assert Update.from_bytes(update.to_bytes()).to_bytes() == update.to_bytes()
    return {
        "delta": f32(delta),
        "layout": update.layout,
        "ledger_head": update.ledger_head,
        "ledger_size": update.ledger_size,
        "ledger_root": update.ledger_root,
        "bytes": update.to_bytes().hex(),
    }


def _refused() -> list[dict[str, str]]:
    good = decode(Instruction(dyadic("private", _LAYOUT.size), _LAYOUT.digest, _PRIVATE, None).to_bytes())
    plans: dict[str, dict[str, Any]] = {
        "an unknown setting": {"secret": 1},
        "no epochs": {"epochs": 0},
        "101 epochs": {"epochs": 101},
        "epochs that are a float": {"epochs": 2.0},
        "epochs that are true": {"epochs": True},
        "a step of zero": {"learning_rate": 0.0},
        "a step that is no number": {"learning_rate": float("nan")},
        "a step without end": {"learning_rate": float("inf")},
        "a step that is true": {"learning_rate": True},
        "a step that is a text": {"learning_rate": "1"},
        "momentum of one": {"momentum": 1.0},
        "a pull away": {"proximal": -0.5},
        "batches under privacy": {"batch_size": 4},
        "no clip": {"clip": 0.0},
        "no noise": {"noise_multiplier": 0.0},
        "no denominator": {"denominator": 0},
        "rare sampling": {"sampling_rate": 1e-5},
        "more than everybody": {"sampling_rate": 1.5},
        "sampling without privacy": {"unit": "none", "sampling_rate": 0.5},
        "a gradient clip under privacy": {"gradient_clip": 1.0},
        "another unit": {"unit": "person"},
        "another change": {"augment": "rotate"},
        "another attack": {"adversarial": "cw"},
        "another norm": {"adversarial_norm": "l1"},
        "an attack without reach": {"adversarial": "pgd"},
        "reach without an attack": {"adversarial_epsilon": 0.1},
        "no views": {"views": 0},
        "17 views": {"views": 17},
        "another engine": {"engine": "jax"},
        **{f"{name} that is null": {name: None} for name in _WORDS},
        "an attack by another engine": {"adversarial": "pgd", "adversarial_epsilon": 0.1, "engine": "opacus"},
        "an attack on views": {"adversarial": "pgd", "adversarial_epsilon": 0.1, "views": 2},
        "no rounds": {"rounds": 0},
        "no cohort": {"cohort_rate": 0.0},
        "a cohort of correlated noise": {"separation": 2, "cohort_rate": 0.5},
        "a central plan without noise": {"unit": "device", "noise_multiplier": 0.0},
        "a number beyond all": {"clip": 1e13},
    }
    cases = {why: good | {"plan": good["plan"] | changes} for why, changes in plans.items()}
    cases |= {
        "a field more": good | {"more": 1},
        "a field less": {name: value for name, value in good.items() if name != "seed"},
        "a vector of half a number": good | {"vector": good["vector"][:-1]},
        "a vector that is a list": good | {"vector": [1.0]},
        "a plan that is a list": good | {"plan": []},
        "a plan without a unit": good | {"plan": {"learning_rate": 1.0}},
        "a seed that is a text": good | {"seed": "7"},
        "a layout that is a number": good | {"layout": 1},
    }
    encoded = {why: encode(value) for why, value in cases.items()} | {"no CBOR": b"\xff", "a list": encode([])}
    for why, data in encoded.items():
        try:
            Instruction.from_bytes(data)
        except InputError:
            continue
        raise AssertionError(f"not refused: {why}")
    return [{"why": why, "given": data.hex()} for why, data in encoded.items()]
