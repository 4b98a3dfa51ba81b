"""Flower's own way to do a round, as its documentation has it: ``grid.send_and_receive`` and an app that echoes.

Run configuration ``run`` names the file for the seconds of each round; ``overrides`` the number of devices, bytes and
rounds.
"""

import json
import os
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

server = ServerApp()
client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    del context
    size = len(message.content["benchmark"]["payload"])
    return Message(RecordDict({"benchmark": ConfigRecord({"payload": os.urandom(size)})}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    devices, size, rounds = map(int, str(context.run_config["overrides"]).split())
    while len(nodes := list(grid.get_node_ids())) < devices:
        time.sleep(0.1)
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        content = RecordDict({"benchmark": ConfigRecord({"payload": os.urandom(size)})})
        answers = list(grid.send_and_receive([Message(content, node, "train") for node in nodes], timeout=120))
        if len(answers) != devices or any(answer.has_error() for answer in answers):
            raise RuntimeError("a node did not answer")
        seconds.append(time.perf_counter() - begin)
    Path(str(context.run_config["run"])).write_text(json.dumps(seconds))
