"""Nodes of a forked grid that tell who they are, or fail as they are asked to."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.server.engines.forked_grid import ForkedGrid

NODES = [{"partition-id": number} for number in range(5)]


def app(do: Any) -> ClientApp:
    made = ClientApp()

    @made.train()
    def train(message: Message, context: Context) -> Message:
        fields = do(message.content["asked"], context)
        return Message(RecordDict({"told": ConfigRecord(fields)}), reply_to=message)

    return made


def who(asked: ConfigRecord, context: Context) -> dict[str, Any]:
    seen = int(context.state["seen"]["n"]) + 1 if "seen" in context.state else 1
    context.state["seen"] = ConfigRecord({"n": seen})
    if asked["n"] == 13:
        raise ValueError("a private label")
    if asked["n"] == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    if asked["n"] == 70:
        return {"n": 2**70}  # no number that a message can hold
    if asked["n"] == 50:
        raise KeyboardInterrupt
    return {"pid": os.getpid(), "seen": seen, "n": asked["n"], "large": b"x" * 400_000}


def ask(grid: ForkedGrid, numbers: list[int]) -> list[Message]:
    nodes = grid.get_node_ids()
    return [
        Message(RecordDict({"asked": ConfigRecord({"n": number, "large": b"y" * 400_000})}), nodes[i % 5], "train")
        for i, number in enumerate(numbers)
    ]


def until(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "nobody looked at what was there before"
        time.sleep(0.005)
