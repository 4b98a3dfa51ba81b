"""What a task gives: devices and their data, public data, held-out evaluation, and the input transform."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from skerry.records import Examples, Float32Array

__all__ = ["Task"]


class Task(Protocol):
    """A learning problem whose training data lie on devices.

    A class that implements it is called with the scenario's ``[task]`` and ``[model]`` sections
    (:class:`~skerry.config.TaskConfig`, :class:`~skerry.config.ModelConfig`).

    Attributes:
        name: as in the scenario.
        classes: names of the classes; a label is an index into them.
        input_shape: (channels, height, width) of one transformed example; a window of a sensor has height 1.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]

    def devices(self) -> tuple[str, ...]:
        """Names of the devices that train, sorted."""
        ...

    def local_data(self, device: str) -> Examples:
        """The examples of one training device, private to it."""
        ...

    def public_data(self) -> Examples:
        """Examples that anybody may see: they calibrate the base and train the first head."""
        ...

    def evaluation(self) -> Mapping[str, Examples]:
        """Held-out holders and their examples; they never train."""
        ...

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """Raw examples to network input, ``(n, *input_shape)`` float32, each example on its own."""
        ...

    def identity(self, device: str | None = None) -> str:
        """Digest (hexadecimal) of one device's data, or of the whole task's."""
        ...
