"""The devices of the plain Flower app: a module of its own, which Ray's actors import once, so that caches last."""

import functools

import torch
from _cnn_data import BATCH, EXAMPLES, RATE, Labels, Pictures, pictures
from _cnn_torch import Net, train
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@functools.cache
def resident() -> tuple[Net, Pictures, Labels]:
    """One network and the data, for as long as the actor lives."""
    torch.set_num_threads(1)
    return Net(), *pictures()[:2]


@app.train()
def answer(message: Message, context: Context) -> Message:
    model, x, y = resident()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    device = int(context.node_config["partition-id"])
    seed = [int(message.content["config"]["round"]), device]
    train(model, torch.from_numpy(x[device]), torch.from_numpy(y[device]), batch=BATCH, rate=RATE, seed=seed)
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": EXAMPLES})}
    return Message(RecordDict(content), reply_to=message)
