"""What a device of the shipped scenario gives away to who sees its updates: reconstructions and membership.

Attackers are granted what they could learn or guess: labels, the features' distribution, and where it says so all
examples but one. A gain is in dB over guessing the mean picture of the class from public data.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
from _harness import Claim, main, progress, versions
from _leakage_claims import RATE, gain_claim, membership_claim
from _leakage_world import World, shipped_world

from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan
from skerry.records import Float32Array
from skerry.security.privacy.accounting import epsilon_pld
from skerry.security.privacy.stream import derive_generator, seeded_stream
from skerry.server.leakage import (
    Seen,
    Shadows,
    always_wrong_head,
    gaussian_tpr,
    infer_label,
    matched_psnr,
    psnr,
    reconstruct_rows,
    reconstruct_trapped,
    shadow_runs,
    trap_heads,
)
from skerry.strategies import parse_rule

TOLERANCE_DB = 0.25
SEARCH_STEPS = 60
SEARCHED = 16  # examples
TARGETS = 4  # of each device, for the attacker who knows all other examples
TRAPS = 2  # of each device: two rounds each, and a budget pays for five
FLEETS = 10  # whose devices spend all rounds on one trapped example each
FELT_DB, FELT_SHARE = 0.05, 0.05  # of the strongest attacks, with the noise: one that returns its guess gains 0.02 dB
RUNS, CONTROL_RUNS = 40, 12

Float64 = npt.NDArray[np.float64]
Ask = Callable[[str, int, Float32Array, TrainPlan], Seen]


def _lone(world: World, plan: TrainPlan) -> tuple[Float64, Float64, Float64, int]:
    """Devices of one example each: gains of both decoders, the guess's PSNR, and how many classes iDLG named."""
    rows, labels, pictures = world.local("writer-00")
    found, named = [], 0
    for i in range(SEARCHED):
        seen = world.rounds(rows[i : i + 1], labels[i : i + 1], plan, i)
        named += infer_label(seen[0].gradient, rows.shape[1]) == labels[i]
        found.append(reconstruct_rows(seen, labels[i : i + 1], world.guess, constant=world.constant)[0])
    best, true = np.stack(found), pictures[:SEARCHED]
    guess = psnr(world.means[labels[:SEARCHED]], true)
    progress(f"lone examples at σ = {plan.noise_multiplier:g} done")
    linear, searched = world.decoder.linear(best), world.decoder.search(best, SEARCH_STEPS)
    return psnr(linear, true) - guess, psnr(searched, true) - guess, guess, named


def controls(_scratch: Path) -> Iterator[Claim]:
    """Noise off: the tools must work."""
    world = shipped_world()
    plan = world.without_noise()
    linear, searched, guess, named = _lone(world, plan)
    yield gain_claim(
        "control_lone", "control: one example on a device, noise off, pixels searched through the float twin",
        searched, ">=", 3.0,
        psnr_guess=float(guess.mean()), linear=float(linear.mean()), labels_inferred=named / SEARCHED,
    )  # fmt: skip
    rows, labels, pictures = world.local("writer-00")
    for count in (8, len(labels)):
        few = slice(0, count)
        seen = world.rounds(rows[few], labels[few], plan, 0)
        found = reconstruct_rows(seen, labels[few], world.guess, constant=world.constant)
        pixels = matched_psnr(world.decoder.linear(found), pictures[few], labels[few])
        gains = (pixels - psnr(world.means[labels[few]], pictures[few]))[None]
        yield gain_claim(f"control_{count}", f"control: {count} examples on a device, noise off", gains, ">=", 1.0)
    gains, _ = _trapped(world, _unguarded(world), plan)
    yield gain_claim("control_trap", "control: trap weights against a whole device, noise off", gains, ">=", 3.0)
    gains = _informed_traps(world, [_unguarded(world)], plan)
    yield gain_claim("control_trap_informed", "control: one example, all others known, noise off", gains, ">=", 3.0)
    yield from _tenth(world)


def _tenth(world: World) -> Iterator[Claim]:
    """A tenth of the noise: attacks that need none at all would tell nothing of the shipped noise."""
    plan = dataclasses.replace(world.plan, noise_multiplier=world.plan.noise_multiplier / 10)
    seen = {
        device: world.rounds(*world.local(device)[:2], plan, number)
        for number, device in enumerate(world.task.devices())
    }
    yield gain_claim(
        "control_informed_tenth", "control: one example, all others known, a tenth of the noise",
        _informed(world, seen), ">=", 0.3,
    )  # fmt: skip
    gains, _ = _trapped(world, _unguarded(world), plan)
    yield gain_claim("control_trap_tenth", "control: trap weights, a tenth of the noise", gains, ">=", 0.15)
    gains = _informed_traps(world, [_unguarded(world)], plan)
    yield gain_claim(
        "control_trap_informed_tenth", "control: one example, all others known, every round a head that is sure of a"
        " wrong class, a tenth of the noise", gains, ">=", 1.2,
    )  # fmt: skip


def _unguarded(world: World) -> Ask:
    """Devices that follow any plan: real ones refuse one with so little noise, so their trainer is asked directly."""

    def ask(device: str, number: int, vector: Float32Array, plan: TrainPlan) -> Seen:
        rows, labels, _ = world.local(device)
        return Seen(vector, world.model.train(vector, rows, labels, plan, seeded_stream(number, device)), plan)

    return ask


def default(scratch: Path) -> Iterator[Claim]:
    """Sealed updates of the shipped scenario, opened by the coordinator."""
    world = shipped_world()
    devices = world.task.devices()
    seen = world.exchange(scratch).run(devices)
    progress("the rounds of the scenario are over")
    batch, by_device, guesses, without, randoms = [], {}, [], [], []
    for number, device in enumerate(devices):
        _, labels, pictures = world.local(device)
        found = reconstruct_rows(seen[device], labels, world.guess, constant=world.constant)
        if not by_device:
            first = (found[:SEARCHED], labels[:SEARCHED], pictures[:SEARCHED])
        guess = psnr(world.means[labels], pictures)
        gains = matched_psnr(world.decoder.linear(found), pictures, labels) - guess
        by_device[device] = float(gains.mean())
        batch.append(gains)
        guesses.append(guess)
        without.append(psnr(world.decoder.linear(world.guess.means[labels].astype(np.float32)), pictures) - guess)
        randoms.append(matched_psnr(world.random(labels, number), pictures, labels))
        progress(f"{device}: {by_device[device]:+.2f} dB")
    baselines = {
        "gain_without_update": float(np.concatenate(without).mean()),
        "psnr_guess": float(np.concatenate(guesses).mean()),
        "psnr_random_example": float(np.concatenate(randoms).mean()),
    }
    spread = {"n": len(by_device), "min": min(by_device.values()), "max": max(by_device.values())}
    yield gain_claim(
        "inversion", "default scenario: all examples of a device from its updates, matched within classes",
        np.concatenate(batch), "<=", TOLERANCE_DB, spread=spread, **baselines,
    )  # fmt: skip
    yield gain_claim(
        "inversion_informed", "the same, one example, by an attacker who knows all others", _informed(world, seen),
        "<=", TOLERANCE_DB,
    )  # fmt: skip
    steps = world.scenario.rounds * world.plan.steps
    one_by_one = world.exchange(scratch / "steps", (f"rounds={steps}", "training.epochs=1")).run(devices)
    yield gain_claim(
        "inversion_informed_steps", f"the same noise in {steps} rounds of one step: this attacker sees every step",
        _informed(world, one_by_one), "<=", TOLERANCE_DB,
    )  # fmt: skip
    found, labels, pictures = first
    searched = matched_psnr(world.decoder.search(found, SEARCH_STEPS), pictures, labels)
    yield gain_claim(
        "inversion_searched", "the first examples of one device, pixels searched through the float twin",
        (searched - psnr(world.means[labels], pictures))[None], "<=", TOLERANCE_DB,
    )  # fmt: skip
    linear, searched, guess, named = _lone(world, world.plan)
    yield gain_claim(
        "inversion_lone", "one example on a device, with the scenario's noise", linear, "<=", TOLERANCE_DB,
        psnr_guess=float(guess.mean()), searched=float(searched.mean()), labels_inferred=named / SEARCHED,
    )  # fmt: skip


def _informed(world: World, seen: Mapping[str, list[Seen]]) -> Float64:
    """Gains at some examples of each device, ``(devices, TARGETS)``."""
    gains = []
    for number, (device, rounds) in enumerate(seen.items()):
        count = len(world.local(device)[1])
        chosen = derive_generator(number, "targets").choice(count, TARGETS, replace=False)
        gains.append([_gain_at(world, device, target, rounds) for target in chosen.tolist()])
    return np.array(gains)


def _gain_at(world: World, device: str, target: int, seen: list[Seen]) -> float:
    """The gain at one example of a device, all others of it known."""
    rows, labels, pictures = world.local(device)
    others = np.arange(len(labels)) != target
    found = reconstruct_rows(
        seen, labels[[target]], world.guess, constant=world.constant, known=(rows[others], labels[others])
    )
    true, guess = pictures[[target]], world.means[labels[[target]]]
    return float((psnr(world.decoder.linear(found), true) - psnr(guess, true))[0])


def malicious(scratch: Path) -> Iterator[Claim]:
    """Trap weights in signed instructions, which devices follow: nothing tells them from honest ones."""
    world = shipped_world()
    exchange = world.exchange(scratch)
    gains, guess = _trapped(world, exchange.ask, world.plan)
    yield gain_claim(
        "trap", "trap weights that single out one of a device's examples, with the scenario's noise", gains, "<=",
        TOLERANCE_DB, psnr_guess=float(guess.mean()),
    )  # fmt: skip
    fleets = [world.exchange(scratch / f"fleet {seed}", (f"seed={seed}",)).ask for seed in range(1, 1 + FLEETS)]
    found = gain_claim(
        "trap_informed", "one example, all others known, every round a head that is sure of a wrong class",
        _informed_traps(world, fleets, world.plan), "<=", TOLERANCE_DB,
    )  # fmt: skip
    yield found
    assert found.value is not None
    assert found.spread is not None
    yield dataclasses.replace(
        found, id="trap_informed_felt", text=f"{found.text}; less two standard errors",
        value=found.value - 2 * found.spread["standard_error"], op=">=", bar=FELT_DB,
    )  # fmt: skip


def _informed_traps(world: World, fleets: Sequence[Ask], plan: TrainPlan) -> Float64:
    """Gains at an example of each device of each fleet, which all its rounds are spent on, ``(devices, fleets)``."""
    gains = []
    for number, ask in enumerate(fleets):
        for device in world.task.devices():
            rows, labels, _ = world.local(device)
            target = int(derive_generator(number, "trapped", device).integers(len(labels)))
            head = always_wrong_head((int(labels[target]) + 1) % world.classes, world.classes, rows.shape[1])
            seen = [ask(device, 1 + i, head, plan) for i in range(world.scenario.rounds)]
            gains.append(_gain_at(world, device, target, seen))
    return np.array(gains).reshape(len(fleets), -1).T


def _trapped(world: World, ask: Ask, plan: TrainPlan) -> tuple[Float64, Float64]:
    """Gains and the guess's PSNR, ``(devices, TRAPS)``; where to cut is granted to the attacker."""
    gains, guesses = [], []
    for device in world.task.devices():
        rows, labels, pictures = world.local(device)
        for trap in range(TRAPS):
            direction = derive_generator(trap, "trap", device).normal(size=rows.shape[1] - 1)
            direction /= np.linalg.norm(direction)
            along = rows[:, :-1] @ direction
            target = int(along.argmax())
            cut = float(np.sort(along)[-2:].mean())
            heads = trap_heads(direction, cut, 100.0, world.classes, world.constant)
            first, second = (ask(device, 1 + 2 * trap + i, head, plan) for i, head in enumerate(heads))
            row = reconstruct_trapped(
                first, second, int(labels[target]), world.guess, constant=world.constant, length=world.length
            )
            true = pictures[[target]]
            guesses.append(psnr(world.means[labels[[target]]], true)[0])
            gains.append(psnr(world.decoder.linear(row[None]), true)[0] - guesses[-1])
    return np.array(gains).reshape(-1, TRAPS), np.array(guesses).reshape(-1, TRAPS)


def membership(_scratch: Path) -> Iterator[Claim]:
    """Likelihood ratio attacks with shadow runs, each run attacked by all others."""
    world = shipped_world()
    steps = world.scenario.rounds * world.plan.steps
    event = world.plan.event
    assert event is not None
    epsilon = epsilon_pld([dataclasses.replace(event, steps=steps)], world.scenario.privacy.delta)
    most = gaussian_tpr(math.sqrt(steps) / world.plan.noise_multiplier, RATE)
    facts = {
        "epsilon": epsilon,
        "delta": world.scenario.privacy.delta,
        "bound_epsilon_delta": min(1.0, math.exp(epsilon) * RATE + world.scenario.privacy.delta),
        "bound_gaussian": most,
    }
    shadows = _shadows(world, world.plan, RUNS)
    told = {
        "by_model": "the final model",
        "by_updates": "a device's updates",
        "by_rest": "a device's updates and all other examples",
    }
    for name, what in told.items():
        claimed = f"membership_{name.removeprefix('by_')}"
        yield membership_claim(claimed, what, shadows, name, "<=", round(most, 4), facts)
    yield membership_claim(
        "membership_rest_felt", f"{told['by_rest']}, no straw man", shadows, "by_rest", ">=", FELT_SHARE, facts
    )
    control = _shadows(world, world.without_noise(), CONTROL_RUNS)
    what = f"control, noise off: {told['by_rest']}"
    yield membership_claim("control_membership", what, control, "by_rest", ">=", 0.5, {})


def _shadows(world: World, plan: TrainPlan, runs: int) -> Shadows:
    data = {device: world.local(device)[:2] for device in world.task.devices()}
    width = next(iter(data.values()))[0].shape[1]
    defence = world.scenario.defence
    found = shadow_runs(
        data, HeadTrainer(world.classes, width), world.model.initial(), plan,
        parse_rule(defence.aggregator, tolerate=defence.tolerate), rounds=world.scenario.rounds, runs=runs, seed=0,
    )  # fmt: skip
    progress(f"{runs} shadow runs at σ = {plan.noise_multiplier:g} done")
    return found


if __name__ == "__main__":
    main(
        "leakage",
        {"controls": controls, "default": default, "malicious": malicious, "membership": membership},
        versions("skerry", "numpy", "scipy", "torch", "onnxruntime"),
    )
