"""The task on Apple's pfl-research, as its tutorials do it; one thread. Prints milliseconds per round."""

import contextlib
import importlib.metadata
import json
import sys
import time

import numpy as np
import torch
from _cnn_data import BATCH, COHORT, DEVICES, RATE, ROUNDS, pictures
from _cnn_torch import Net, accuracy
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor
from torch.nn import functional

NEVER = 10_000


class Network(Net):
    def loss(self, x: Tensor, y: Tensor, **_mode: bool) -> Tensor:
        self.train()
        return functional.cross_entropy(self(x), y.long())  # pfl hands labels over as float32

    def metrics(self, x: Tensor, y: Tensor, **_mode: bool) -> dict[str, Weighted]:
        with torch.no_grad():
            loss = functional.cross_entropy(self(x), y.long(), reduction="sum").item()
        return {"loss": Weighted(loss, len(x))}


class Clock(TrainingProcessCallback):
    def __init__(self) -> None:
        self.rounds: list[float] = []
        self.before = 0.0

    def on_train_begin(self, **_given: PyTorchModel) -> Metrics:
        self.before = time.perf_counter()
        return Metrics()

    def after_central_iteration(self, _metrics: Metrics, _model: PyTorchModel, **_given: int) -> tuple[bool, Metrics]:
        now = time.perf_counter()
        self.rounds.append(1e3 * (now - self.before))
        self.before = now
        return False, Metrics()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    np.random.seed(0)
    x, y, held_x, held_y = pictures()
    network, clock = Network(), Clock()
    users = {device: [x[device], y[device]] for device in range(DEVICES)}
    data = FederatedDataset.from_slices(users, get_user_sampler("random", list(range(DEVICES))))
    with contextlib.redirect_stdout(sys.stderr):
        FederatedAveraging().run(
            algorithm_params=NNAlgorithmParams(ROUNDS, NEVER, COHORT, 0),
            backend=SimulatedBackend(data, data, postprocessors=[WeightByUser()]),
            model=PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), 1.0)),
            model_train_params=NNTrainHyperParams(local_num_epochs=1, local_learning_rate=RATE, local_batch_size=BATCH),
            model_eval_params=NNEvalHyperParams(local_batch_size=None),
            callbacks=[clock],
        )
    found = {package: importlib.metadata.version(package) for package in ("pfl", "torch")}
    print(json.dumps({"rounds_ms": clock.rounds, "accuracy": accuracy(network, held_x, held_y), "versions": found}))


main()
