"""One update of a head from a given seed, written to a file: run by each processor on the same files, and compared.

A device in a federation draws its own noise and follows no seed; this is no part of one.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from skerry.config import ModelConfig, TaskConfig
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.security.privacy.stream import seeded_stream


def main(folder: Path, pictures: Path) -> None:
    """Read ``folder/given.json``; write features, what the noise alone makes, updates of two seeds and a plain one."""
    given = json.loads((folder / "given.json").read_text())
    config, worker = ModelConfig(**given["model"]), Worker()
    task = worker.task(TaskConfig(**given["task"], root=pictures), config)
    model = worker.model(config, given["digest"], task)
    features, labels = worker.local_inputs(given["holder"], task, model)
    private, start = TrainPlan(**given["plan"]), model.initial()
    plain = replace(private, unit="none", noise_multiplier=0.0, sampling_rate=1.0)

    def update(seed: int, examples: int, plan: TrainPlan = private) -> np.ndarray:
        stream = seeded_stream(seed, "train", given["holder"], 1)
        return model.train(start, features[:examples], labels[:examples], plan, stream)

    np.savez(
        folder / "update.npz",
        start=start,
        features=features,
        labels=labels,
        noise=update(0, 0),
        update=update(0, len(labels)),
        other=update(1, len(labels)),
        plain=update(0, len(labels), plain),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
