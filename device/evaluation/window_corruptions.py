"""What sensors and radios do to windows of readings: ten corruptions in five severities, in numpy.

Severities are in units of the standardised input (one is the sensor's declared scale) and in shares of the window. They
are ours: there is no common benchmark for sensor windows whose figures these could be compared with.

Every function takes ``(n, channels, 1, length)`` float32, a severity 1…5 and a generator, and returns the same shape.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["WINDOW_CORRUPTIONS", "corrupt_windows"]


def corrupt_windows(x: Float32Array, name: str, severity: int, generator: np.random.Generator) -> Float32Array:
    """``(n, channels, 1, length)`` standardised windows, each corrupted on its own draw.

    Args:
        x: the windows.
        name: a key of :data:`WINDOW_CORRUPTIONS`.
        severity: 1 to 5.
        generator: all randomness comes from it.
    """
    return np.ascontiguousarray(WINDOW_CORRUPTIONS[name](x, severity, generator), dtype=np.float32)


def _noise(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """A cheap sensor: white noise."""
    deviation = np.float32((0.1, 0.2, 0.35, 0.55, 0.8)[severity - 1])
    return x + deviation * generator.standard_normal(x.shape, np.float32)


def _spikes(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Glitches: single readings at ±4 units."""
    share = (0.005, 0.01, 0.02, 0.04, 0.08)[severity - 1]
    hit = generator.random(x.shape) < share
    sign = generator.choice(np.array([-4, 4], np.float32), x.shape)
    return np.where(hit, sign, x)


def _drift(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Warming up: each channel runs away along a line, up or down, by so much at the window's end."""
    reach = np.float32((0.2, 0.4, 0.7, 1.1, 1.6)[severity - 1])
    sign = generator.choice(np.array([-1, 1], np.float32), (*x.shape[:2], 1, 1))
    return x + reach * sign * np.linspace(0, 1, x.shape[3], dtype=np.float32)


def _gain(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """An uncalibrated sensor: each channel multiplied by a factor, log-normal."""
    deviation = (0.1, 0.2, 0.35, 0.5, 0.7)[severity - 1]
    factors: Float32Array = np.exp(deviation * generator.standard_normal((*x.shape[:2], 1, 1), np.float32))
    return x * factors


def _dropout(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Broken wires: a share of the channels, at least one, reads zero."""
    share = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    dead = max(1, round(share * x.shape[1]))
    order = generator.random(x.shape[:2]).argsort(axis=1)
    return np.where((order < dead)[:, :, None, None], np.float32(0), x)


def _gap(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """The radio is out for a while: the last reading is held."""
    length = x.shape[3]
    lost = max(1, round((0.1, 0.2, 0.3, 0.45, 0.6)[severity - 1] * length))
    start = generator.integers(1, length - lost + 1, len(x))[:, None]
    moment = np.arange(length)[None, :]
    source = np.where((moment >= start) & (moment < start + lost), start - 1, moment)
    return np.take_along_axis(x, np.broadcast_to(source[:, None, None, :], x.shape), axis=3)


def _time_warp(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """The same movement done faster or slower, about the window's middle."""
    factor = np.log1p((0.08, 0.15, 0.25, 0.4, 0.6)[severity - 1])
    speed = np.exp(factor * generator.choice([-1, 1], len(x)))
    middle = (x.shape[3] - 1) / 2
    return _sampled(x, middle + (np.arange(x.shape[3]) - middle)[None, :] * speed[:, None])


def _clipping(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """A sensor whose range is too small."""
    del generator
    limit = (2.0, 1.5, 1.0, 0.7, 0.4)[severity - 1]
    return np.clip(x, -limit, limit)


def _jitter(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """A busy processor: readings are taken early or late, by so many sampling intervals (standard deviation)."""
    deviation = (0.5, 1.0, 2.0, 3.5, 6.0)[severity - 1]
    moments = np.arange(x.shape[3]) + deviation * generator.standard_normal((len(x), x.shape[3]))
    return _sampled(x, moments)


def _quantization(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """A coarse converter: readings in steps."""
    del generator
    step = np.float32((0.1, 0.25, 0.5, 0.8, 1.2)[severity - 1])
    stepped: Float32Array = np.rint(x / step) * step
    return stepped


def _sampled(x: Float32Array, moments: npt.NDArray[Any]) -> Float32Array:
    """Linear interpolation of each window at ``(n, length)`` moments; its ends are held."""
    last = x.shape[3] - 1
    held = np.clip(moments, 0, last)
    before = np.floor(held).astype(int)
    after = np.minimum(before + 1, last)
    part = (held - before).astype(np.float32)[:, None, None, :]

    def at(index: npt.NDArray[Any]) -> Float32Array:
        return np.take_along_axis(x, np.broadcast_to(index[:, None, None, :], x.shape), axis=3)

    sampled: Float32Array = at(before) * (1 - part) + at(after) * part
    return sampled


WINDOW_CORRUPTIONS: Mapping[str, Callable[[Float32Array, int, np.random.Generator], Float32Array]] = MappingProxyType(
    {
        "noise": _noise,
        "spikes": _spikes,
        "drift": _drift,
        "gain": _gain,
        "channel_dropout": _dropout,
        "gap": _gap,
        "time_warp": _time_warp,
        "clipping": _clipping,
        "jitter": _jitter,
        "quantization": _quantization,
    }
)
"""By name."""
