"""A quantization in one safetensors file: what a device needs of it to train over int8 weights or at int8's steps.

::

    metadata  skerry.quantization    JSON: step and zero of each activation
    tensors   <node>.values          int8, of a layer's weights
              <node>.scale           (outputs,) float32
              <node>.bias            (outputs,) int32
              <node>.bias_scale      (outputs,) float32
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from skerry.device.compression.quantize import Quantization, QuantizedWeights, Scale
from skerry.errors import InputError
from skerry.fsio import write_atomic

__all__ = ["load_quantization", "save_quantization"]

_KEY = "skerry.quantization"
_TYPES = {"values": np.int8, "scale": np.float32, "bias": np.int32, "bias_scale": np.float32}


def save_quantization(quantization: Quantization, path: Path) -> None:
    """Write the file, whole or not at all; the same quantization gives the same bytes."""
    steps = {name: [scale.step, scale.zero] for name, scale in sorted(quantization.tensors.items())}
    tensors = {
        f"{node}.{part}": np.ascontiguousarray(getattr(weights, part), kind)
        for node, weights in sorted(quantization.weights.items())
        for part, kind in _TYPES.items()
    }
    write_atomic(path, save(tensors, {_KEY: json.dumps(steps)}), durable=False)


def load_quantization(path: Path) -> Quantization:
    """The quantization of a file.

    Raises:
        InputError: there is no such file, or it is not a whole and well formed quantization.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            steps = json.loads((file.metadata() or {})[_KEY])
        tensors = load(path.read_bytes())
        scales = {str(name): _scale(*pair) for name, pair in steps.items()}
        nodes = sorted({name.rpartition(".")[0] for name in tensors})
        weights = {node: QuantizedWeights(**{p: _part(tensors, node, p) for p in _TYPES}) for node in nodes}
        if len(tensors) != len(_TYPES) * len(nodes) or any(not _fits(found) for found in weights.values()):
            raise ValueError("its tensors do not fit together")
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"cannot read this quantization: {error}", where=str(path), mend="build the base model again"
        ) from error
    return Quantization(scales, weights)


def _scale(step: float, zero: int) -> Scale:
    if not (math.isfinite(step) and step > 0 and isinstance(zero, int) and 0 <= zero <= 255):
        raise ValueError(f"step {step} and zero {zero} of an activation")
    return Scale(float(step), zero)


def _part(tensors: dict[str, npt.NDArray[Any]], node: str, part: str) -> npt.NDArray[Any]:
    found = tensors[f"{node}.{part}"]
    if found.dtype != _TYPES[part] or not np.isfinite(found).all():
        raise ValueError(f"{node}.{part} holds other numbers than {np.dtype(_TYPES[part]).name}")
    return found


def _fits(weights: QuantizedWeights) -> bool:
    outputs = weights.values.shape[:1]
    return weights.values.ndim in {2, 4} and weights.scale.shape == weights.bias.shape == outputs
