"""What a device's gradients of one step cost by each engine, and whether an example's gradient depends on the others.

Usage: ``python _clipping_federated.py MODE TURNS``. MobileNetV3-small at 64×64 in one of its modes, 32 examples. Each
turn times a plain gradient of all examples and then the integer sum of clipped gradients by each engine; time is that
of the process's own processor. ``moved`` counts, of some examples, those whose gradient has other bits
beside all others than alone.
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import torch
from _processor import processor_seconds
from torch import nn

from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.models.folding import fold_norms
from skerry.device.training.dp import Grid
from skerry.device.training.flat import FlatNetwork
from skerry.device.training.modes import prepare_mode
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.per_example import Engine, engine
from skerry.device.training.plan import TrainPlan
from skerry.security.privacy import seeded_stream

SHAPE, CLASSES, EXAMPLES = (3, 64, 64), 10, 32
ENGINES = ("skerry", "bookkeeping", "opacus")
WATCHED = (0, 3, 13, 31)


def network(mode: str) -> nn.Module:
    """The mode's module, as after some steps: at zero, adapters would hide what lies before them."""
    made = build_network("mobilenet_v3_small", inputs=SHAPE, classes=CLASSES, seed=2).eval()
    graph = trace(fold_norms(made), SHAPE)
    calibration = np.random.default_rng(3).normal(size=(16, *SHAPE)).astype(np.float32)
    module = prepare_mode(mode, graph, quantize(graph, calibration), rank=4).module
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("up.weight"):
                parameter.normal_(0, 0.1, generator=generator)
    return module


def main() -> None:
    mode, turns = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    trainer = NetworkTrainer(network(mode))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, *SHAPE)).astype(np.float32)
    y = generator.integers(0, CLASSES, EXAMPLES)
    start, everybody = trainer.initial(), np.arange(EXAMPLES)
    grid = Grid(1.0, 1.0, trainer.layout.size)
    once = TrainPlan(learning_rate=0.1, unit="none")

    def summed(by: str) -> np.ndarray:
        return trainer.integer_sum(start, x, y, everybody, grid, by=by)

    def plain() -> None:
        trainer.train(start, x, y, once, seeded_stream(0))

    ways: dict[str, Callable[[], object]] = {by: lambda by=by: summed(by) for by in ENGINES}
    moved = {}
    for by in ENGINES:
        gradients_of = engine(by, FlatNetwork(trainer.module(start)))

        def bits(chosen: np.ndarray, gradients_of: Engine = gradients_of) -> list[bytes]:
            blocks = (np.concatenate(found.pieces, 1) for found in gradients_of(x, y, chosen))
            return [row.tobytes() for block in blocks for row in block]

        beside = bits(everybody)
        moved[by] = sum(bits(everybody[[i]])[0] != beside[i] for i in WATCHED)
    plain()
    times: dict[str, list[float]] = {"plain": [], **{by: [] for by in ENGINES}}
    for _ in range(turns):
        times["plain"].append(1e3 * processor_seconds(plain))
        for by, way in ways.items():
            times[by].append(1e3 * processor_seconds(way))
    print(json.dumps({"trained": trainer.layout.size, "ms": times, "moved": moved}))


if __name__ == "__main__":
    main()
