"""MNIST-1D: ten classes of 40 numbers, made by code, hard for a linear model and small enough for thousands of runs.

Reference: Greydanus and Kobak 2024, "Scaling Down Deep Learning with MNIST-1D" (arXiv:2011.14439): its templates and
transformations with its constants, drawn from another generator, so examples differ from the published file's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["CLASSES", "LENGTH", "Examples", "mnist1d"]

Float64Array = npt.NDArray[np.float64]

CLASSES, LENGTH = 10, 40

_TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
_PADDED = 72  # 12 points of a template and up to 60 of nothing
_LEAST_PAD, _MOST_PAD = 36, 60
_LARGEST_SHIFT = 48
_SCALE, _SHEAR = 0.4, 0.75
_SMOOTH_NOISE, _FINE_NOISE = 0.25, 0.02
_KERNEL = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)


@dataclass(frozen=True)
class Examples:
    """Features ``(n, 40)`` float32, of mean 0 and variance 1 over all; labels ``(n,)`` int64."""

    features: Float32Array
    labels: npt.NDArray[np.int64]


def mnist1d(seed: int, *, train: int = 4000, test: int = 1000) -> tuple[Examples, Examples]:
    """Examples to train and to test with; the same seed gives the same ones.

    >>> first, second = mnist1d(0, train=80, test=20)
    >>> first.features.shape, second.labels.shape
    ((80, 40), (20,))
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(train + test) % CLASSES)
    templates = _TEMPLATES - _TEMPLATES.mean(axis=1, keepdims=True)
    templates /= templates.std(axis=1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6.0
    drawn = np.stack([_draw(templates[label], rng) for label in labels])
    drawn = ((drawn - drawn.mean()) / drawn.std()).astype(np.float32)
    return Examples(drawn[:train], labels[:train]), Examples(drawn[train:], labels[train:])


def _draw(template: Float64Array, rng: np.random.Generator) -> Float64Array:
    padded = np.concatenate([template + 1e-8, np.zeros(rng.integers(_LEAST_PAD, _MOST_PAD + 1))])
    curve = _resampled(padded, _PADDED) * (1 + _SCALE * rng.uniform(-0.5, 0.5))
    curve = np.roll(curve, rng.integers(_LARGEST_SHIFT))
    rough = np.pad(rng.normal(0, _SMOOTH_NOISE, _PADDED), 8, "symmetric")
    smooth = np.convolve(rough, _KERNEL / _KERNEL.sum(), "valid")
    curve = np.where(curve != 0, curve, smooth) + rng.normal(0, _FINE_NOISE, _PADDED)
    curve -= _SHEAR * rng.uniform(-0.5, 0.5) * np.linspace(-0.5, 0.5, _PADDED)
    return _resampled(curve, LENGTH)


def _resampled(curve: Float64Array, count: int) -> Float64Array:
    found: Float64Array = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(curve)), curve)
    return found
