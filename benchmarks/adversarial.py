"""Adversarial training on digits: what it buys, what it costs, what is left of it on devices, under privacy, in int8.

A network of 151,306 weights, 1,437 digits of 8×8 to learn from and 360 to attack, in L∞ with a radius of 0.15 from
black to white. AutoAttack is APGD-CE, targeted APGD and Square; FAB, which takes as long as the rest and rarely
decides, is left out.
"""

import importlib.util
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _adversarial_data import EPSILON, Digits, as_convolutions, digits, network
from _harness import Claim, NotMeasuredError, Peer, Samples, main, progress, run_peer, versions
from torch import nn

from skerry.device.evaluation.robustness import auto_attack, pgd_attack
from skerry.device.training.adversarial import pgd
from skerry.device.training.central import predict, train_centrally
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.plan import TrainPlan
from skerry.security.adversarial import AdversarialRecipe, Ball, Method, replays
from skerry.security.privacy import seeded_stream
from skerry.security.privacy.accounting import epsilon_pld

BALL = Ball(EPSILON, "linf", 0.0, 1.0)
EPOCHS, BATCH, RATE = 20, 64, 0.05
ROUNDS = 30
PRIVATE_ROUNDS = 5
DELTA = 1e-4
REPEATS = 5


def recipe(method: Method) -> AdversarialRecipe:
    return AdversarialRecipe(ball=BALL, method=method)


def trained(data: Digits, method: Method | None, seed: int = 0, epochs: int = EPOCHS) -> tuple[nn.Module, float]:
    """The network, and the processor's seconds that it took."""
    module, begun = network(seed), time.process_time()
    given = None if method is None else recipe(method)
    train_centrally(
        module, data.x, data.y, epochs=epochs, batch_size=BATCH, learning_rate=RATE, seed=seed, adversarial=given
    )
    return module, time.process_time() - begun


def beside_plain(data: Digits, method: Method, epochs: int = EPOCHS) -> tuple[nn.Module, list[float]]:
    """The network of the first seed, and for each seed the time that it took over that of plain training.

    The two go first in turn: a machine that slows down or quickens strikes both.
    """
    modules, ratios = [], []
    for seed in range(REPEATS):
        took: dict[Method | None, float] = {}
        for way, passes in ((None, EPOCHS), (method, epochs))[:: 1 if seed % 2 else -1]:
            module, took[way] = trained(data, way, seed, passes)
            if way is not None:
                modules.append(module)
        ratios.append(took[method] / took[None])
    return modules[0], ratios


def accuracy(module: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    return 100 * float((predict(module, x).argmax(1) == y).mean())


def under_auto_attack(module: nn.Module, data: Digits) -> float | None:
    """Percent; None where AutoAttack is not installed."""
    if importlib.util.find_spec("pyautoattack") is None:
        return None
    return accuracy(module, auto_attack(module, data.test_x, data.test_y, BALL, fab=False), data.test_y)


def under_pgd(module: nn.Module, data: Digits, steps: int = 50, restarts: int = 5) -> float:
    stood = np.ones(len(data.test_y), bool)
    for moved in pgd_attack(module, data.test_x, data.test_y, BALL, steps=steps, restarts=restarts):
        stood &= predict(module, moved).argmax(1) == data.test_y
    return 100 * float(stood.mean())


def told(name: str, module: nn.Module, data: Digits) -> dict[str, float | None]:
    found = {
        "clean": accuracy(module, data.test_x, data.test_y),
        "PGD-50 × 5": under_pgd(module, data),
        "AutoAttack": under_auto_attack(module, data),
    }
    progress(f"{name}: {found}")
    return found


def auto(found: dict[str, float | None], id_: str, text: str, bar: float, **more: Any) -> Claim:
    value = found["AutoAttack"]
    peer = Peer("pyautoattack", value, versions("pyautoattack").get("pyautoattack")) if value is not None else None
    missing = Peer("pyautoattack", None, None, "pip install 'skerry[eval]'")
    return Claim(id_, text, value, "%", ">=", bar, peer or missing, detail={**found, **more})


def central(_folder: Path) -> Iterator[Claim]:
    """One place, all examples."""
    data = digits()
    plain = told("plain", trained(data, None)[0], data)
    fast, ratios = beside_plain(data, "fgsm_rs")
    yield auto(
        told("fgsm_rs", fast, data),
        "fgsm_rs_autoattack",
        "FGSM-RS with its guard: accuracy under AutoAttack",
        66.0,
        plain=plain,
    )
    yield _cost("fgsm_rs_cost", "plain training", ratios)
    module, took = trained(data, "trades")
    yield auto(
        told("trades", module, data), "trades_autoattack", "TRADES: accuracy under AutoAttack", 70.0, seconds=took
    )


def free(_folder: Path) -> Iterator[Claim]:
    """A quarter of the epochs, each batch four times: as many steps as plain training."""
    data, epochs = digits(), EPOCHS // replays("free")
    first, ratios = beside_plain(data, "free", epochs)
    text = f"Free in {epochs} epochs of four steps a batch: accuracy under AutoAttack"
    yield auto(told("free", first, data), "free_autoattack", text, 66.0)
    yield _cost("free_cost", f"{EPOCHS} plain epochs", ratios)


def _cost(id_: str, peer: str, ratios: list[float]) -> Claim:
    ratio = Samples(ratios)
    return Claim(
        id=id_,
        text=f"its processor time over that of {peer}, checks included; median of {REPEATS}",
        value=ratio.median,
        unit="ratio",
        op="<=",
        bar=1.8,
        spread=ratio.spread,
    )


def head(_folder: Path) -> Iterator[Claim]:
    """The head alone, over the int8 base of the shipped scenario: twenty digits of each writer, in one place."""
    from skerry.config import default_scenario
    from skerry.device.basemodel import BaseModel
    from skerry.device.head_network import head_network
    from skerry.device.local_model import build_local_model
    from skerry.device.tasks.reach import attack_ball
    from skerry.device.tasks.registry import load_task
    from skerry.records import Examples

    scenario = default_scenario()
    task = load_task(scenario.task, scenario.model)
    digest = build_local_model(scenario.model, task)
    assert digest is not None
    trainer = NetworkTrainer(head_network(BaseModel.load(digest)))
    order = np.random.default_rng(0)
    local = [task.local_data(device) for device in task.devices()]
    train = Examples.concatenate([data.select(order.permutation(len(data))[:20]) for data in local])
    test = Examples.concatenate([data.select(np.arange(40)) for data in task.evaluation().values()])
    x, test_x = task.transform(train.x), task.transform(test.x)
    plan = TrainPlan(learning_rate=100.0, batch_size=55, epochs=10, unit="none")

    ball = attack_ball(task, 0.003)

    def figures(given: AdversarialRecipe | None) -> tuple[float, float]:
        vector = trainer.initial() + trainer.train(trainer.initial(), x, train.y, plan, seeded_stream(1, "head"), given)
        module = trainer.module(vector)
        (moved,) = pgd_attack(module, test_x, test.y, ball, steps=10, restarts=1)
        return accuracy(module, test_x, test.y), accuracy(module, moved, test.y)

    plain, hardened = figures(None), figures(AdversarialRecipe(ball=ball, method="fgsm_rs"))
    yield Claim(
        id="head_gain",
        text="accuracy under PGD-10 within 0.003 of the way from black to white, int8: FGSM-RS less plain training",
        value=hardened[1] - plain[1],
        unit="points",
        op=">=",
        bar=10.0,
        detail={"plain, clean and attacked": plain, "FGSM-RS, clean and attacked": hardened},
    )


def int8(folder: Path) -> Iterator[Claim]:
    """The robust network in int8, attacked through its rounding, and judged in onnxruntime."""
    from skerry.device.compression.fake_quant import FakeQuantGraphModule
    from skerry.device.compression.onnx_export import to_onnx
    from skerry.device.compression.quantize import quantize
    from skerry.device.compression.trace import trace
    from skerry.device.evaluation.robustness import robustness_of
    from skerry.device.runtime import OnnxModel

    data = digits()
    module, _ = trained(data, "fgsm_rs")
    graph = trace(as_convolutions(module).eval(), (1, 8, 8))
    quantization = quantize(graph, data.x[:256])
    file = folder / "int8.onnx"
    file.write_bytes(to_onnx(graph, quantization).SerializeToString())
    model, twin = OnnxModel(file), FakeQuantGraphModule(graph, quantization).eval()
    rounded = robustness_of(model.run, twin, data.test_x, data.test_y, BALL)
    floating = robustness_of(lambda x: predict(module, x), module, data.test_x, data.test_y, BALL)
    yield Claim(
        id="int8_robust",
        text="accuracy under PGD-20 and PGD-50 × 5 together: int8, attacked through its rounding, over float",
        value=rounded.worst / floating.worst,
        unit="ratio",
        op=">=",
        bar=0.98,
        detail={"int8": 100 * rounded.worst, "float": 100 * floating.worst, "twin agrees": rounded.twin},
    )


def federated(_folder: Path) -> Iterator[Claim]:
    """Fourteen writers, each with its own training digits; the mean of their changes, without noise."""
    data = digits()
    reference = under_pgd(trained(data, "fgsm_rs")[0], data)
    trainer = NetworkTrainer(network())
    vector = trainer.initial()
    shards = [np.flatnonzero(data.writer == one) for one in range(14)]
    for number in range(ROUNDS):
        plan = TrainPlan(learning_rate=0.1, momentum=0.9, batch_size=16, epochs=2, unit="none")
        deltas = [
            trainer.train(vector, data.x[s], data.y[s], plan, seeded_stream(number, f"{i}"), recipe("fgsm_rs"))
            for i, s in enumerate(shards)
        ]
        vector = vector + np.mean(deltas, 0, dtype=np.float32)
        if (number + 1) % 10 == 0:
            progress(f"round {number + 1}: {under_pgd(trainer.module(vector), data, 20, 1):.1f} under PGD-20")
    module = trainer.module(vector)
    value = under_pgd(module, data)
    yield Claim(
        id="federated_robust",
        text=f"14 writers, {ROUNDS} rounds of FGSM-RS, plain averaging: accuracy under PGD-50 × 5 over one place",
        value=value / reference,
        unit="ratio",
        op=">=",
        bar=0.9,
        detail={"clean": accuracy(module, data.test_x, data.test_y), "federated": value, "one place": reference},
    )


def private(_folder: Path) -> Iterator[Claim]:
    """Clipped per example, with noise: rounds on one device, the learning rate falling from one to the next."""
    data = digits()
    trainer = NetworkTrainer(network())
    vector, begun, steps = trainer.initial(), time.process_time(), 0
    for number in range(PRIVATE_ROUNDS):
        plan = TrainPlan(
            learning_rate=0.25 * (1 + math.cos(math.pi * number / PRIVATE_ROUNDS)),
            momentum=0.9,
            unit="example",
            noise_multiplier=1.0,
            clip=1.0,
            denominator=len(data.x),
            sampling_rate=0.18,
            epochs=4,
        )
        vector = vector + trainer.train(vector, data.x, data.y, plan, seeded_stream(number, "private"), recipe("pgd"))
        steps += plan.steps
        progress(f"{steps} steps: {accuracy(trainer.module(vector), data.test_x, data.test_y):.1f} clean")
    took = time.process_time() - begun
    assert plan.event is not None
    event = replace(plan.event, steps=steps)
    yield auto(
        told("private", trainer.module(vector), data),
        "private_autoattack",
        f"PGD-7 with example-level privacy, σ = 1, C = 1, {steps} steps at rate 0.18: accuracy under AutoAttack",
        34.0,
        seconds=took,
        event=str(event),
        epsilon=f"{epsilon_pld((event,), DELTA):.2f} at δ = {DELTA:g}",
    )


def peers(folder: Path) -> Iterator[Claim]:
    """Our PGD-50 against other libraries' on the same network, from the examples themselves: no chance in it."""
    data = digits()
    module = trained(data, "trades")[0].eval()
    x, y = torch.from_numpy(data.test_x), torch.from_numpy(data.test_y)
    ours = accuracy(module, pgd(module, x, y, BALL, steps=50, step_size=2.5 * EPSILON / 50).numpy(), data.test_y)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    np.savez(folder / "network.npz", x=data.test_x, y=data.test_y, **weights)
    for name in ("foolbox", "ART"):
        text = f"accuracy of a TRADES network under our PGD-50 less that under {name}'s, absolute"
        claim = Claim(f"pgd_{name.lower()}", text, None, "points", "<=", 1.0)
        try:
            found = run_peer("_attack_peer.py", name.lower(), str(folder), timeout_s=600)
        except NotMeasuredError as error:
            yield replace(claim, peer=Peer(name, None, None, str(error)))
            continue
        theirs = accuracy(module, np.load(folder / "moved.npy"), data.test_y)
        (folder / "moved.npy").unlink()
        peer = Peer(name, theirs, found.document["version"])
        yield replace(claim, value=abs(ours - theirs), peer=peer, detail={"ours": ours})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(
        "adversarial",
        {
            "central": central,
            "free": free,
            "head": head,
            "int8": int8,
            "federated": federated,
            "private": private,
            "peers": peers,
        },
        versions("skerry", "torch", "pyautoattack", "onnxruntime", "numpy"),
    )
