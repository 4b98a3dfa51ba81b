"""The task as a plain Flower app on Flower's own simulation, Ray. Prints milliseconds per round."""

import importlib.metadata
import json
import logging
import os
import time

import torch
from _cnn_data import DEVICES, ROUNDS, cohort, pictures
from _cnn_flower_client import app as client
from _cnn_torch import Net, accuracy
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

logging.getLogger("flwr").setLevel(logging.ERROR)
server = ServerApp()


@server.main()
def coordinate(grid: Grid, _context: Context) -> None:
    while len(nodes := list(grid.get_node_ids())) < DEVICES:
        time.sleep(0.1)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model, rounds = Net(), []
    for number in range(ROUNDS):
        begin = time.perf_counter()
        content = {"arrays": ArrayRecord(model.state_dict()), "config": ConfigRecord({"round": number})}
        asked = [
            Message(RecordDict(content), dst_node_id=nodes[device], message_type="train", group_id=str(number))
            for device in cohort(number)
        ]
        states = [reply.content["arrays"].to_torch_state_dict() for reply in grid.send_and_receive(asked)]
        model.load_state_dict({k: torch.stack([s[k] for s in states]).mean(0) for k in states[0]})
        rounds.append(1e3 * (time.perf_counter() - begin))
    _, _, x, y = pictures()
    found = {package: importlib.metadata.version(package) for package in ("flwr", "ray", "torch")}
    print(json.dumps({"rounds_ms": rounds, "accuracy": accuracy(model, x, y), "versions": found}), flush=True)


run_simulation(
    server,
    client,
    num_supernodes=DEVICES,
    backend_config={
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": os.cpu_count()},
    },
)
