"""The Flower ``ClientApp``: the same object in-process, on Ray, and under a SuperNode.

A message of a round is one record with one byte string, an envelope, and so is its answer; the question which devices
live at a node is a signed challenge that tells nothing, and its answers are envelopes.

It only carries bytes between Flower's messages and :mod:`skerry.device.participation`; Flower is the mailbox, never
the authority. A node finds the devices it stands for in one of two ways: its node configuration names a device's
home (``skerry-home``), or, in a simulation that Flower started by itself, the coordinator left a pointer from
Flower's run id to the run folder, and the node takes its share of the simulated fleet.
"""

import functools
import json
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.clock import system_clock
from skerry.device.discretion import discreetly
from skerry.device.participation import answer_challenge, participate
from skerry.device.worker import process_worker
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.fsio import home
from skerry.security.envelope import Refusal, receiver_of

__all__ = ["RECORD", "app", "fleet_homes", "pointer"]

RECORD = "skerry"

app = ClientApp(mods=[discreetly])


def pointer(flwr_run: int) -> Path:
    """Where the coordinator of a simulation writes which run folder belongs to Flower's run id."""
    return home() / "flwr-runs" / str(flwr_run)


def fleet_homes(run: Path) -> list[Path]:
    """The homes of a simulated fleet, sorted by device name."""
    return sorted(p.parent for p in (run / "fleet").glob("*/device.json"))


@app.query("identify")
def identify(message: Message, context: Context) -> Message:
    """Answer the coordinator's challenge for each device that lives at this node."""
    challenge, signature = _bytes(message, "challenge"), _bytes(message, "signature")
    answers = [
        answer_challenge(challenge, signature, process_worker().resident(path), now=system_clock())
        for path in _homes(context)
    ]
    return Message(RecordDict({RECORD: ConfigRecord({"envelopes": answers})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Follow the instruction for one device: the one that its header names, if it lives here."""
    envelope = _bytes(message, "envelope")
    name = receiver_of(envelope)
    path = next((p for p in _homes(context) if _lives_at(p) == name), None)
    if path is None:
        raise EnvelopeRefusedError(Refusal.NOT_FOR_US, "the device asked for does not live at this node", where=name)
    worker = process_worker()
    answer = participate(envelope, worker.resident(path), worker, system_clock)
    return Message(RecordDict({RECORD: ConfigRecord({"envelope": answer})}), reply_to=message)


def _field(message: Message, field: str) -> object:
    record = message.content.get(RECORD)
    return record.get(field) if isinstance(record, ConfigRecord) else None


def _bytes(message: Message, field: str) -> bytes:
    value = _field(message, field)
    if not isinstance(value, bytes):
        raise InputError(f"the message has no bytes named {field!r}")
    return value


def _lives_at(path: Path) -> str:
    """The device of a home: a simulated one has the folder's name; an enrolled one is known to the process."""
    known = process_worker().residents.get(path)
    return path.name if known is None else known.home.device


def _homes(context: Context) -> list[Path]:
    named = context.node_config.get("skerry-home")
    if isinstance(named, str) and named:
        return [_path(named)]
    left = pointer(context.run_id)
    if not left.is_file():
        raise InputError(
            "this node stands for no device",
            mend="give it --node-config 'skerry-home=\"<folder>\"', or start the simulation's coordinator first",
        )
    homes = fleet_homes(Path(json.loads(left.read_text(encoding="utf-8"))["run"]))
    share, of = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    return homes[share::of]


_path = functools.lru_cache(maxsize=16_384)(Path)  # a path that was used before knows its parts and its hash
