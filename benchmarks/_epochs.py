"""Head mode on one device: the first epoch, which computes the features, and those after it.

Usage: ``python _epochs.py PIXELS``. One private full-batch step an epoch, as in the default scenario.
"""

import json
import statistics
import sys
import time

from skerry.config import default_scenario
from skerry.device.local_model import build_local_model
from skerry.device.tasks.registry import load_task
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.security.privacy.stream import seeded_stream

EPOCHS = 21


def main() -> None:
    scenario = default_scenario([f"model.input_size={int(sys.argv[1])}"])
    task = load_task(scenario.task, scenario.model)
    base = build_local_model(scenario.model, task)
    worker, device = Worker(), task.devices()[0]
    model = worker.model(scenario.model, base, task)
    model.prepare(task.local_data(device).x[:0])  # loading the network is no part of an epoch
    plan = TrainPlan(learning_rate=30.0, unit="example", clip=0.5, noise_multiplier=2.0, denominator=128)
    one = task.local_data(device)
    model.train(model.initial(), model.prepare(one.x[:1]), one.y[:1], plan, seeded_stream(0))  # makes the noise's table
    times = []
    for epoch in range(EPOCHS):
        begin = time.perf_counter()
        inputs, y = worker.local_inputs(device, task, model)
        model.train(model.initial(), inputs, y, plan, seeded_stream(epoch))
        times.append(time.perf_counter() - begin)
    print(json.dumps({"first_s": times[0], "later_s": statistics.median(times[1:]), "examples": len(y)}))


if __name__ == "__main__":
    main()
