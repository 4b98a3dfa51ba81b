"""Fashion-MNIST on devices that own different clothes: 60,000 + 10,000 pictures of ten kinds, 28×28, grey.

Xiao et al., "Fashion-MNIST" (arXiv:1708.07747), MIT licence. The four IDX files come from Debian's package
``dataset-fashion-mnist``, or from the folder ``task.root``.

* *public*: ``task.public_examples`` of the 60,000, drawn first; nobody's own. They calibrate the int8 base and train
  the first head.
* *devices*: the rest, shared out by :func:`~skerry.device.tasks.dirichlet.dirichlet_split` among ``task.devices``.
* *held out*: the 10,000 test pictures, shared out in the same way among as many holders that never train, so that
  percentiles over them tell what devices with mixtures of their own would see.

Everything follows from ``task.seed``, and not from the scenario's: one federation can be run with many seeds.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.dirichlet import dirichlet_split
from skerry.device.tasks.idx import read_idx
from skerry.device.tasks.pictures import normalisation, pixel_range, to_network_input
from skerry.errors import MissingDependencyError, TaskError
from skerry.records import Examples, Float32Array

__all__ = ["DEBIAN", "MINIMUM", "FashionTask"]

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts the files."""
MINIMUM = 20
"""Pictures that every device and every held-out holder has at least."""

_SIDE = 28
_CLASSES = 10


class FashionTask:
    """Fashion-MNIST, shared out by a Dirichlet distribution.

    Raises:
        MissingDependencyError: the four files are not where they are looked for.
        TaskError: a file is not what it should be, or the pictures do not suffice for so many devices.
    """

    name = "fashion"
    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        self._size = model.input_size
        self._mean, self._scale = normalisation(model)
        self.input_shape = (task.channels, self._size, self._size)
        folder = task.root or DEBIAN
        self._train, self._test = _load(folder, "train"), _load(folder, "t10k")
        chance = [np.random.default_rng([task.seed, stream]) for stream in range(4)]
        order = chance[0].permutation(len(self._train))
        self._public = np.sort(order[: task.public_examples])
        private = np.sort(order[task.public_examples :])
        parts = dirichlet_split(
            self._train.y[private], task.devices, alpha=task.alpha, minimum=MINIMUM, generator=chance[1]
        )
        if task.examples is not None:
            parts = [np.sort(chance[2].permutation(part)[: task.examples]) for part in parts]
        held_out = dirichlet_split(self._test.y, task.devices, alpha=task.alpha, minimum=MINIMUM, generator=chance[3])
        self._local = {f"device-{i:03d}": private[part] for i, part in enumerate(parts)}
        self._held_out = {f"held-out-{i:03d}": part for i, part in enumerate(held_out)}
        self._digests: dict[str, str] = {}

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white, as the network gets them."""
        return pixel_range(self._mean, self._scale)

    def devices(self) -> tuple[str, ...]:
        """``device-000`` and so on."""
        return tuple(self._local)

    def local_data(self, device: str) -> Examples:
        """One device's pictures, ``(n, 28, 28, 1)`` uint8."""
        if device not in self._local:
            raise TaskError(f"{device!r} is not a training device of this task", where="task fashion")
        return self._train.select(self._local[device])

    def public_data(self) -> Examples:
        """``task.public_examples`` pictures of the training set that are on no device."""
        return self._train.select(self._public)

    def evaluation(self) -> Mapping[str, Examples]:
        """The test pictures, ``held-out-000`` and so on."""
        return MappingProxyType({name: self._test.select(part) for name, part in self._held_out.items()})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, 28, 28, 1)`` uint8 to ``(n, channels, size, size)`` float32."""
        return self.view(x, 0)

    def view(self, x: npt.NDArray[Any], number: int) -> Float32Array:
        """The same, of view ``number``: moved as :data:`~skerry.device.tasks.pictures.MOVES` says."""
        channels = self.input_shape[0]
        return to_network_input(x, self._size, mean=self._mean, scale=self._scale, channels=channels, view=number)

    def identity(self, device: str | None = None) -> str:
        """Digest of one device's pixels and labels, or of everybody's."""
        if device is not None:
            if device not in self._digests:  # asked for in every round
                self._digests[device] = _digest(self.local_data(device))
            return self._digests[device]
        return sha256_hex("".join([*map(self.identity, self._local), _digest(self._test)]).encode())


def _digest(data: Examples) -> str:
    return sha256_hex(data.x.tobytes() + data.y.tobytes())


@functools.lru_cache(maxsize=4)
def _load(folder: Path, part: str) -> Examples:
    pictures, labels = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
    x, y = read_idx(pictures, 3), read_idx(labels, 1)
    if x.shape[1:] != (_SIDE, _SIDE):
        raise TaskError(f"the pictures are {x.shape[1]}×{x.shape[2]}, not {_SIDE}×{_SIDE}", where=str(pictures))
    if len(x) != len(y):
        raise TaskError(f"{len(x):,} pictures have {len(y):,} labels", where=str(labels), mend="take both of one set")
    if len(y) == 0 or y.max() >= _CLASSES:
        raise TaskError("the labels are not those of ten classes", where=str(labels), mend="take Fashion-MNIST's files")
    return Examples(x[..., None], y.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise MissingDependencyError(
        f"Fashion-MNIST is not here: there is no {name} or {name}.gz",
        where=str(folder),
        mend="apt-get install dataset-fashion-mnist, or set task.root to a folder with the four IDX files",
    )
