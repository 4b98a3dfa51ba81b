"""Small learning problems, quick enough to federate in every mode; found as ``tiny_tasks:TinyWindows`` on the path."""

import numpy as np

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.calibration import spread
from skerry.records import Examples


class TinyWindows:
    """Three devices with windows of three waves, in two channels; two more are held out, one gives its data away."""

    name = "tiny"
    classes = ("slow", "middle", "fast")
    input_shape: tuple[int, int, int] = (2, 1, 24)
    labelled = True

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        del task, model

    def devices(self) -> tuple[str, ...]:
        return ("device-0", "device-1", "device-2")

    def local_data(self, device: str) -> Examples:
        return self._draw(int(device[-1]), 14)

    def public_data(self) -> Examples:
        public = self._draw(99, 60)
        return public if self.labelled else Examples(public.x, np.full(len(public), -1, np.int64))

    def evaluation(self):
        return {"held-out": self._draw(50, 40), "other": self._draw(51, 20)}

    def transform(self, x):
        return np.ascontiguousarray(x, np.float32)

    def identity(self, device: str | None = None) -> str:
        return sha256_hex(f"{type(self).__name__} {device}".encode())

    def _draw(self, seed: int, count: int) -> Examples:
        generator = np.random.default_rng(seed)
        y = generator.integers(0, 3, count)
        channels, height, length = self.input_shape
        time = np.arange(length) / length
        wave = np.sin(2 * np.pi * (1 + 3 * y[:, None]) * time + generator.uniform(0, 6, (count, 1)))
        x = wave[:, None, None, :] * np.ones((1, channels, height, 1)) + 0.2 * generator.normal(
            size=(count, channels, height, length)
        )
        return Examples(x.astype(np.float32), y)


class UnlabelledWindows(TinyWindows):
    """The same, but the public windows have no labels."""

    labelled = False


class TinyPictures(TinyWindows):
    """The waves as rows of 16×16 pictures in three channels."""

    input_shape = (3, 16, 16)


def few(task: TinyWindows, count: int) -> Examples:
    """Some of a device's examples."""
    data = task.local_data("device-0")
    return data.select(spread(count, len(data)))
