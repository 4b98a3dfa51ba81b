"""Cutting series of sensor readings into windows of one length, and windows that belong to nobody."""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["cut", "downsample", "standardise", "synthetic_windows"]


def cut(series: npt.NDArray[np.floating], length: int, stride: int) -> Float32Array:
    """``(t, channels)`` readings to ``(n, length, channels)`` windows that begin every ``stride`` readings.

    Windows lie wholly inside the series; what is left at its end is dropped. A shorter series gives none.
    """
    if len(series) < length:
        return np.empty((0, length, series.shape[1]), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)[::stride]  # (n, channels, length)
    return np.ascontiguousarray(views.transpose(0, 2, 1), dtype=np.float32)


def downsample(x: npt.NDArray[np.floating], factor: int) -> Float32Array:
    """``(n, length, channels)`` to ``(n, length / factor, channels)``: means of so many readings in a row.

    Movements of a body are slow beside a sensor's clock; a network over fewer readings sees as far with smaller kernels
    and costs that much less. ``length`` is a multiple of ``factor`` (the configuration sees to it).
    """
    n, length, channels = x.shape
    means: Float32Array = x.reshape(n, length // factor, factor, channels).mean(2, dtype=np.float32)
    return means


def standardise(x: npt.NDArray[np.floating], mean: Float32Array, scale: Float32Array) -> Float32Array:
    """``(n, length, channels)`` in the sensors' units to ``(n, channels, 1, length)`` as ``(value - mean) / scale``."""
    standard = (x.astype(np.float32) - mean) / scale
    return np.ascontiguousarray(standard.transpose(0, 2, 1)[:, :, None, :], dtype=np.float32)


def synthetic_windows(count: int, length: int, mean: Float32Array, scale: Float32Array) -> Float32Array:
    """``(count, length, channels)`` windows from a fixed seed, in the sensors' units, for calibration without data.

    Each channel is a level (as gravity or a resting sensor gives) plus waves whose amplitude falls as 1/f, as bodies
    move; both are drawn per window and channel in units of the declared ``scale``, and how lively a window is varies
    tenfold. They hold nobody's readings, so they cost no privacy; they meet the range that the constants declare, not
    the one that devices see, so calibration on real public windows is better where there are any.
    """
    generator = np.random.default_rng(0)
    channels = len(scale)
    frequency = np.fft.rfftfreq(length)
    frequency[0] = np.inf
    spectrum = np.fft.rfft(generator.normal(size=(count, length, channels)), axis=1) / frequency[:, None]
    waves = np.fft.irfft(spectrum, n=length, axis=1)
    waves /= waves.std(axis=1, keepdims=True)
    lively = 10.0 ** generator.uniform(-0.75, 0.25, (count, 1, channels))
    level = generator.normal(scale=0.7, size=(count, 1, channels))
    windows: Float32Array = (mean + scale * (level + lively * waves)).astype(np.float32)
    return windows
