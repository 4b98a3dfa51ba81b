"""A task that trains in a second: windows of noisy waves of four speeds, two channels wide."""

import numpy as np

from skerry.canonical import sha256_hex
from skerry.errors import TaskError
from skerry.records import Examples

LENGTH = 32


def waves(n: int, seed: int, noise: float = 0.7) -> Examples:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 4, n)
    phase = generator.uniform(0, 2 * np.pi, (n, 2, 1))
    t = np.arange(LENGTH)[None, None, :]
    x = np.sin(phase + 2 * np.pi * t * (1 + y[:, None, None]) / 24) + generator.normal(0, noise, (n, 2, LENGTH))
    return Examples(x[:, :, None, :].astype(np.float32), y)


class WavesTask:
    name = "waves"
    classes = ("slow", "walk", "run", "fast")
    input_shape = (2, 1, LENGTH)
    public = 600

    def __init__(self, task, model):
        del model
        self._seed = task.seed

    def devices(self):
        return ("only",)

    def local_data(self, device):
        raise TaskError("private data have no business in a compression", where=device)

    def public_data(self):
        return waves(self.public, 1 + self._seed)

    def evaluation(self):
        return {"one": waves(150, 100), "two": waves(150, 101)}

    def transform(self, x):
        return np.ascontiguousarray(x, np.float32)

    def identity(self, device=None):
        return sha256_hex(f"waves {device} {self._seed}".encode())


class UnlabelledTask(WavesTask):
    def public_data(self):
        data = super().public_data()
        return Examples(data.x, np.full(len(data), -1))


class EmptyTask(WavesTask):
    public = 0


class HarderTask(WavesTask):
    """The same public data, other held-out ones."""

    def evaluation(self):
        return {"one": waves(150, 100, noise=2.0)}

    def identity(self, device=None):
        return sha256_hex(b"harder")
