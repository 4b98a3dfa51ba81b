"""Every network of the zoo in every mode, with random weights on small inputs, made as a device makes them."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from skerry.device.compression.cuts import split, tail_start
from skerry.device.compression.graph import Graph
from skerry.device.compression.quantize import Quantization, QuantizationRecipe, quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.models.folding import fold_norms
from skerry.device.networkbase import CLASSIFIER
from skerry.device.training.modes import prepare_mode

CLASSES = 5
_QUICK = QuantizationRecipe(rounding="nearest", refit=False, bias_correction=False, ranges="minmax")
_CALIBRATION = 16


def least_shape(name: str) -> tuple[int, int, int]:
    """The smallest input that the architecture allows."""
    return (1, 9, 9) if name == "ds_cnn" else (3, 17, 17)


def zoo_mode(name: str, mode: str, *, width: float = 1.0) -> tuple[nn.Module, tuple[int, int, int]]:
    """A float32 module of its own whose trainable parameters are the mode's, and the shape of one input."""
    shape = least_shape(name)
    graph, quantization = _network(name, width, shape)
    if mode == "tail":
        cut = tail_start(graph, 2)
        graph, shape = split(graph, cut)[1], graph.shapes[cut]
    prepared = prepare_mode("full" if mode == "head" else mode, graph, quantization, rank=2).module.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in prepared.named_parameters():
            if mode == "head":
                parameter.requires_grad_(key.startswith(f"{CLASSIFIER}."))
            if mode == "lora" and key.endswith("up.weight"):  # as after a step: at zero nothing reaches "down"
                parameter.normal_(0, 0.1, generator=generator)
            if mode == "qat":  # as after some steps: a few weights saturate, and have no gradient
                parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return prepared, shape


def draw(shape: tuple[int, ...], n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``(n, *shape)`` float32 inputs and ``(n,)`` classes."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, *shape)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(generator.integers(0, CLASSES, n))


@cache
def _network(name: str, width: float, shape: tuple[int, int, int]) -> tuple[Graph, Quantization]:
    network = build_network(name, inputs=shape, classes=CLASSES, width=width, seed=2).eval()
    graph = trace(fold_norms(network), shape)
    return graph, quantize(graph, draw(shape, _CALIBRATION, 3)[0].numpy(), recipe=_QUICK)
