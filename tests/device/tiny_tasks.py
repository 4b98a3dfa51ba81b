"""Small learning problems and scenarios, quick enough to federate in every mode; found by whoever has the folder on its
path."""

import json

import numpy as np

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, Scenario, TaskConfig, parse_scenario
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
        y = generator.integers(0, len(self.classes), count)
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


class TwoWindows(TinyWindows):
    """Two classes only: too few to be compared with each other."""

    classes = ("slow", "fast")


class SevenWindows(TinyWindows):
    """The same on seven devices: enough for devices to be compared with each other."""

    def devices(self) -> tuple[str, ...]:
        return tuple(f"device-{number}" for number in range(7))


class SevenUnlabelledWindows(SevenWindows):
    """The same seven, but the public windows have no labels."""

    labelled = False


class TinyPictures(TinyWindows):
    """The waves as rows of 16×16 pictures in three channels."""

    input_shape = (3, 16, 16)


class SevenPrototypes(SevenWindows):
    """Noisy pictures of three prototypes, two classes on each of seven devices: what the architecture ``cnn`` takes."""

    input_shape = (1, 28, 28)

    def local_data(self, device: str) -> Examples:
        number = int(device[-1])
        data = self._draw(number, 300)
        return data.select(np.flatnonzero(data.y != number % 3))

    def public_data(self) -> Examples:
        return self._draw(99, 150)

    def _draw(self, seed: int, count: int) -> Examples:
        generator = np.random.default_rng(seed)
        y = generator.integers(0, 3, count)
        prototypes = np.random.default_rng(7).normal(size=(3, *self.input_shape))
        x = prototypes[y] + 0.5 * generator.normal(size=(count, *self.input_shape))
        return Examples(x.astype(np.float32), y)


def config(mode: str, **changes) -> ModelConfig:
    values = {"architecture": "ds_cnn", "trainable": mode, "width": 0.125, "rank": 2, "tail_blocks": 2, "components": 6}
    return ModelConfig(**values | {"pretrain_epochs": 2} | changes)


def scenario(mode: str, task: str, unit: str, *overrides: str) -> Scenario:
    private = {"example": "clip = 1.0\ndenominator = 12\nepsilon = 40.0", "none": ""}[unit]
    text = f"""
name = "tiny"
rounds = 2
[task]
name = "tiny_tasks:{task}"
[model]
{chr(10).join(f"{k} = {json.dumps(v)}" for k, v in config(mode).model_dump(exclude_unset=True).items())}
[training]
learning_rate = 0.005
epochs = 2
batch_size = {0 if unit == "example" else 5}
[privacy]
unit = "{unit}"
{private}
[defence]
aggregator = "mean"
tolerate = 0
screen = ["finite", "shape", "fresh"]
[attack]
devices = 0
[report]
references = false
"""
    return parse_scenario(text, overrides=overrides)
