"""The task on BlazeFL, sequentially, its quickest way here; one thread. Prints milliseconds per round."""

import importlib.metadata
import json
import time
from functools import partialmethod

import torch
import tqdm
from _cnn_data import BATCH, COHORT, DEVICES, RATE, ROUNDS, pictures
from _cnn_torch import Net, accuracy
from blazefl.contrib import fedavg
from torch.utils.data import DataLoader, TensorDataset

tqdm.tqdm.__init__ = partialmethod(tqdm.tqdm.__init__, disable=True)


class Dataset:
    """BlazeFL's protocol of a data set in parts."""

    def __init__(self) -> None:
        self._x, self._y, *_ = pictures()

    def set_dataset(self, *_given: object, **_named: object) -> None:
        pass

    def get_dataset(self, type_: str, cid: int) -> TensorDataset:
        del type_
        return TensorDataset(torch.from_numpy(self._x[cid]), torch.from_numpy(self._y[cid]))

    def get_dataloader(
        self, type_: str, cid: int, batch_size: int, generator: torch.Generator | None = None
    ) -> DataLoader:
        return DataLoader(self.get_dataset(type_, cid), batch_size=batch_size, shuffle=True, generator=generator)


class Selector:
    """BlazeFL's protocol of a choice of networks."""

    def select_model(self, model_name: str) -> Net:
        del model_name
        torch.manual_seed(1)
        return Net()


def main() -> None:
    torch.set_num_threads(1)
    common = {"model_selector": Selector(), "model_name": "net", "dataset": Dataset(), "device": "cpu", "seed": 0}
    server = fedavg.FedAvgBaseServerHandler(
        **common, global_round=ROUNDS, num_clients=DEVICES, sample_ratio=COHORT / DEVICES, batch_size=BATCH
    )
    trainer = fedavg.FedAvgBaseClientTrainer(**common, num_clients=DEVICES, epochs=1, batch_size=BATCH, lr=RATE)
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        asked = server.sample_clients()
        trainer.local_process(server.downlink_package(), asked)
        for update in trainer.uplink_package():
            server.load(update)
        rounds.append(1e3 * (time.perf_counter() - begin))
    _, _, x, y = pictures()
    found = {package: importlib.metadata.version(package) for package in ("blazefl", "torch")}
    print(json.dumps({"rounds_ms": rounds, "accuracy": accuracy(server.model, x, y), "versions": found}))


main()
