"""The usual task of federated simulators, made from a seed: needs numpy alone, so that every engine has the same data.

100 devices of 60 pictures each, 28×28, one channel: ten random prototypes under heavy noise. Each round asks 20
devices for one epoch in batches of 10 at a learning rate of 0.05, on a network of 102,130 weights.
"""

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

DEVICES, EXAMPLES, CLASSES = 100, 60, 10
COHORT, ROUNDS, BATCH, RATE = 20, 10, 10, 0.05
HELD_OUT = 300


def pictures() -> tuple[Pictures, Labels, Pictures, Labels]:
    """Training pictures ``(100, 60, 1, 28, 28)`` float32 with labels ``(100, 60)`` int64, then 300 held-out ones."""
    generator = np.random.default_rng(0)
    prototypes = generator.normal(size=(CLASSES, 1, 28, 28))
    y = generator.integers(0, CLASSES, DEVICES * EXAMPLES + HELD_OUT)
    x = (0.5 * prototypes[y] + generator.normal(size=(len(y), 1, 28, 28))).astype(np.float32)
    n = DEVICES * EXAMPLES
    shape = (DEVICES, EXAMPLES, 1, 28, 28)
    return x[:n].reshape(shape), y[:n].reshape(DEVICES, EXAMPLES), x[n:], y[n:]


def cohort(number: int) -> list[int]:
    """The devices of a round, sorted."""
    drawn = np.random.default_rng([1, number]).choice(DEVICES, COHORT, replace=False)
    return sorted(int(device) for device in drawn)
