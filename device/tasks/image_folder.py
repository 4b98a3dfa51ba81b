"""Your own pictures, without writing Python: ``root/<device>/<class>/*.png|jpg|jpeg``.

Held-out devices are a share of the device folders (``holdout = 0.2``: the first in a fixed shuffled order, at least
one), folders by name, or one of five folds (``holdout = 0`` to ``4``). Public pictures, which calibrate the int8 base
and train the first head, come from the folder named by ``public`` (same form: ``root/<public>/<class>/*``). Without
one, calibration uses smooth random pictures made from a fixed seed and the first head is zero: private pictures are
never used for either.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest, sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.holdout import held_out
from skerry.device.tasks.pictures import normalisation, pixel_range, to_network_input
from skerry.errors import MissingDependencyError, TaskError
from skerry.records import Examples, Float32Array

__all__ = ["ImageFolderTask"]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_NOISE_PICTURES = 512


class ImageFolderTask:
    """Pictures in folders by device and class.

    Raises:
        TaskError: a folder is missing or empty, a picture cannot be read, or there is only one class; names the file.
    """

    name = "image-folder"

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        if task.root is None:
            raise TaskError("image-folder needs a folder of pictures", where="task.root", mend='set task.root = "…"')
        self._root = task.root
        self._size = model.input_size
        self._mean, self._scale = normalisation(model)
        self.input_shape = (task.channels, model.input_size, model.input_size)
        folders = _subfolders(self._root, "one folder for each device")
        self._public = task.public
        if task.public is not None and task.public not in folders:
            raise TaskError(
                f"there is no public folder {task.public!r}", where=str(self._root), mend="check task.public"
            )
        holders = [name for name in folders if name != task.public]
        self.classes = self._classes(folders)
        self._held_out = held_out(holders, task.holdout, str(self._root))
        self._training = tuple(name for name in holders if name not in self._held_out)
        for name in folders:
            self._files(name)  # an empty device is told now, not in round seven
        self._loaded: dict[str, Examples] = {}

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white, as the network gets them."""
        return pixel_range(self._mean, self._scale)

    def devices(self) -> tuple[str, ...]:
        """The device folders that are not held out."""
        return self._training

    def local_data(self, device: str) -> Examples:
        """One device's pictures, ``(n, size, size, 3)`` uint8, in the order of their paths."""
        if device not in self._training:
            raise TaskError(f"{device!r} is not a training device of this task", where=str(self._root))
        return self._load(device)

    def public_data(self) -> Examples:
        """The public folder's pictures, or seeded smooth noise with label -1 (for calibration only)."""
        if self._public is not None:
            return self._load(self._public)
        return Examples(_smooth_noise(_NOISE_PICTURES, self._size), np.full(_NOISE_PICTURES, -1, np.int64))

    def evaluation(self) -> Mapping[str, Examples]:
        """The held-out devices' pictures."""
        return MappingProxyType({name: self._load(name) for name in self._held_out})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, size, size, 3)`` uint8 to ``(n, channels, size, size)`` float32."""
        return self.view(x, 0)

    def view(self, x: npt.NDArray[Any], number: int) -> Float32Array:
        """The same, of view ``number``: moved as :data:`~skerry.device.tasks.pictures.MOVES` says."""
        channels = self.input_shape[0]
        return to_network_input(x, self._size, mean=self._mean, scale=self._scale, channels=channels, view=number)

    def identity(self, device: str | None = None) -> str:
        """Digest of the files' content, by path."""
        chosen = [device] if device is not None else [*self._training, *self._held_out]
        return digest(
            [
                [str(path.relative_to(self._root)), sha256_hex(path.read_bytes())]
                for n in chosen
                for path in self._files(n)
            ]
        )

    def _classes(self, folders: list[str]) -> tuple[str, ...]:
        found = {name for folder in folders for name in _subfolders(self._root / folder, "one folder for each class")}
        if len(found) < 2:
            raise TaskError(
                f"there is only one class: {', '.join(found)}",
                where=str(self._root),
                mend="a classifier needs at least two class folders",
            )
        return tuple(sorted(found))

    def _files(self, holder: str) -> list[Path]:
        files = sorted(p for p in (self._root / holder).glob("*/*") if p.suffix.lower() in _SUFFIXES)
        if not files:
            raise TaskError(
                "this device has no pictures",
                where=str(self._root / holder),
                mend="add .png or .jpg files in class folders, or remove the folder",
            )
        return files

    def _load(self, holder: str) -> Examples:
        if holder not in self._loaded:
            files = self._files(holder)
            x = np.stack([_read(path, self._size) for path in files])
            y = np.array([self.classes.index(path.parent.name) for path in files], np.int64)
            self._loaded[holder] = Examples(x, y)
        return self._loaded[holder]


def _subfolders(folder: Path, form: str) -> list[str]:
    if not folder.is_dir():
        raise TaskError("the folder does not exist", where=str(folder), mend="check task.root")
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise TaskError(f"the folder is empty; expected {form}", where=str(folder))
    return found


def _read(path: Path, size: int) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingDependencyError(
            "image-folder needs pillow", where="task image-folder", mend="pip install pillow"
        ) from error
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TaskError(
            f"the picture cannot be read: {error}", where=str(path), mend="repair or remove the file"
        ) from error


def _smooth_noise(count: int, size: int) -> npt.NDArray[np.uint8]:
    """Pictures whose spectrum falls like that of photographs (amplitude 1/f), from a fixed seed."""
    generator = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    spectrum = np.fft.rfft2(generator.normal(size=(count, 3, size, size))) / frequency
    waves = np.fft.irfft2(spectrum, s=(size, size))
    waves = (waves - waves.mean((1, 2, 3), keepdims=True)) / waves.std((1, 2, 3), keepdims=True)
    pictures = np.clip(127 + 50 * waves, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pictures.transpose(0, 2, 3, 1))
