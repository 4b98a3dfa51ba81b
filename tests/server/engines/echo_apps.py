"""Tiny apps for the engines' tests: they say who they are, count, and fail when told to.

Imported by name, as real apps are: in this process, in Ray's workers, and by the programs of a SuperLink.
"""

import json
import os
import signal
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from threadpoolctl import threadpool_info

from skerry.device.app import pointer
from skerry.runfolder import RunFolder

SECRET = "a private label of a private example"
HANG_S = 3600.0  # longer than any test waits for the end of what hangs: it is ended, or the test fails

server = ServerApp()
client = ClientApp()
interrupting = ServerApp()
curious = ServerApp()


def _run_folder(context: Context) -> Path:
    return Path(str(context.run_config.get("run") or os.environ["SKERRY_RUN"]))


@client.train()
def train(message: Message, context: Context) -> Message:
    asked = message.content["echo"]
    home = str(context.node_config.get("skerry-home", ""))
    if asked["do"] == "raise":
        raise ValueError(SECRET)
    if asked["do"] == "exit":
        raise SystemExit(3)
    if asked["do"] == "unsendable":
        return Message(RecordDict({"echo": ConfigRecord({"n": 2**70})}), reply_to=message)
    if asked["do"] == "nothing":
        return None  # type: ignore[return-value]
    if asked["do"] == "kill-parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(HANG_S)
    if asked["do"] == "hang":
        time.sleep(HANG_S)
    if asked["do"] == "sleep":
        time.sleep(float(asked["seconds"]))
    seen = int(context.state["seen"]["n"]) + 1 if "seen" in context.state else 1
    context.state["seen"] = ConfigRecord({"n": seen})
    answer = {
        "home": Path(home).name,
        "partition": int(context.node_config.get("partition-id", -1)),
        "seen": seen,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "blas": max(pool["num_threads"] for pool in threadpool_info()),
        "telemetry": os.environ.get("FLWR_TELEMETRY_ENABLED", ""),
        "twice": 2 * int(asked["n"]),
    }
    return Message(RecordDict({"echo": ConfigRecord(answer)}), reply_to=message)


def wait_for_nodes(grid: Grid, wanted: int) -> list[int]:
    end = time.monotonic() + 180
    while len(nodes := sorted(grid.get_node_ids())) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    return nodes


def exchange(grid: Grid, nodes: list[int], fields: dict, timeout: float = 120.0) -> list[Message]:
    asked = [Message(RecordDict({"echo": ConfigRecord(fields)}), n, "train", ttl=timeout) for n in nodes]
    return ask(grid, asked, timeout)


def ask(grid: Grid, messages: list[Message], timeout: float = 120.0) -> list[Message]:
    waiting = set(grid.push_messages(messages))
    replies, end = [], time.monotonic() + timeout
    while waiting and time.monotonic() < end:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            replies.append(reply)
        time.sleep(0.02 if waiting else 0)
    return replies


@curious.main()
def ask_who_they_are(grid: Grid, context: Context) -> None:
    """Ask real devices as a coordinator does, and write down every word of their errors to ``echo.json``."""
    folder = _run_folder(context)
    nodes = wait_for_nodes(grid, json.loads((folder / "plan.json").read_text())["nodes"])
    fields = {"challenge": b"?", "signature": b"?"}
    asked = [Message(RecordDict({"skerry": ConfigRecord(fields)}), n, "query.identify", ttl=120.0) for n in nodes]
    path = pointer(context.run_id)  # by which the nodes of Flower's simulation find their homes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": str(folder)}))
    try:
        replies = ask(grid, asked)
    finally:
        path.unlink()
    errors = [[reply.error.code, reply.error.reason] for reply in replies if reply.has_error()]
    (folder / "echo.json").write_text(json.dumps({"errors": errors, "replies": len(replies)}))


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Follow ``plan.json`` of the run folder; write what was seen to ``echo.json``."""
    folder = _run_folder(context)
    plan = json.loads((folder / "plan.json").read_text())
    begun, patience = time.time(), plan.get("patience_s", 120.0)
    nodes = wait_for_nodes(grid, plan["nodes"])
    rounds = []
    (folder / "begun").touch()
    for number in range(plan["rounds"]):
        start = time.perf_counter()
        replies = exchange(grid, nodes, {"do": plan["do"], "n": number, "seconds": plan.get("seconds", 0.0)}, patience)
        rounds.append(
            {
                "seconds": time.perf_counter() - start,
                "replies": [dict(r.content["echo"]) for r in replies if r.has_content()],
                "errors": [[r.error.code, r.error.reason] for r in replies if r.has_error()],
            }
        )
    (folder / "echo.json").write_text(json.dumps({"rounds": rounds, "pid": os.getpid(), "begun": begun}))
    if plan.get("then") == "fail":
        raise RuntimeError("the coordinator was told to fail")
    if plan.get("then") == "vanish":
        RunFolder(folder).mark("complete")
        os._exit(9)  # and Flower never hears of it
    if plan.get("then") == "exit":
        raise SystemExit(4)
