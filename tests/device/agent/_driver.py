"""A coordinator at the SuperLink: claims a run, sends messages, waits for answers."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from skerry.clock import system_clock
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge, Instruction
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Header, Kind, Opened, open_envelope, seal
from skerry.security.identity import Directory, PublicIdentity
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.engine import Components
from skerry.server.engines.flwr_run import driven_run
from skerry.server.mailbox import Mailbox, exchange

from ._fleet import Fleet

_LARGEST = 64 << 20


@contextmanager
def coordinating(fleet: Fleet, folder: Path) -> Iterator[Grid]:
    """A run of one's own, conducted as a real one is: who is silent for a minute loses its task at the SuperLink."""
    folder.mkdir()
    link, app = fleet.link, write_bundle(folder, Components())
    secret = link.secret.read_bytes()
    with driven_run(link.address, link.authority.read_bytes(), secret, app, largest=_LARGEST) as (grid, _):
        yield grid


def identify(grid: Grid, fleet: Fleet, node: int) -> ConfigRecord | None:
    """The answer to a challenge; None when there is none."""
    challenge = Challenge("run-1", secrets.token_bytes(16), system_clock() + 180_000).to_bytes()
    fields = {"challenge": challenge, "signature": fleet.coordinator.sign(CHALLENGE_DOMAIN, challenge)}
    answers = dict(exchange(grid, {"it": (node, fields)}, "query.identify", deadline_s=180))
    return answers.get("it")


class Desk:
    """The coordinator of a prepared run, with instructions for one real device."""

    def __init__(self, fleet: Fleet, prepared: RunFolder, device: PublicIdentity) -> None:
        self.fleet, self.device = fleet, device
        scenario = prepared.scenario
        task = process_worker().task(scenario.task, scenario.model)
        base = json.loads((prepared.path / "model" / "base.json").read_text())
        self.model = process_worker().model(scenario.model, base["digest"], task)
        self.run = f"run-{secrets.token_hex(4)}"

    def instruct(self, number: int, *, epochs: int = 1, sampling_rate: float = 1.0, model: str | None = None) -> bytes:
        """An instruction of private steps, epochs over rate, at little cost: the noise is a hundred times the clip."""
        plan = TrainPlan(
            epochs=epochs,
            learning_rate=0.1,
            batch_size=0,
            momentum=0.0,
            unit="example",
            clip=1.0,
            noise_multiplier=100.0,
            denominator=50,
            sampling_rate=sampling_rate,
        )
        now = system_clock()
        header = Header(
            kind=Kind.INSTRUCTION,
            run=self.run,
            round=number,
            sender="coordinator",
            receiver=self.device.name,
            model=model or self.model.digest,
            nonce=secrets.token_bytes(16),
            in_reply_to=b"",
            issued=now,
            expires=now + 600_000,
        )
        told = Instruction(self.model.initial(), self.model.layout.digest, plan, None)
        return seal(header, told.to_bytes(), sender=self.fleet.coordinator, receiver=self.device)

    def read(self, answer: bytes) -> Opened:
        """The device's answer, an update or a refusal."""
        return opened(answer, self.fleet, self.device, {Kind.UPDATE, Kind.REFUSAL})


@contextmanager
def asked(grid: Grid, node: int, envelope: bytes, *, deadline_s: float = 180.0) -> Iterator[list[bytes]]:
    """Ask for a round, and have the answers in the list at the end of the block."""
    mailbox, answers = Mailbox(grid), []
    mailbox.send({"it": (node, {"envelope": envelope})}, "train", ttl_s=deadline_s)
    yield answers
    end = time.monotonic() + deadline_s
    while mailbox and time.monotonic() < end:
        answers += [record["envelope"] for _, record in mailbox.receive() if record is not None]
        time.sleep(0.05)


def opened(answer: bytes, fleet: Fleet, device: PublicIdentity, kinds: set[Kind]) -> Opened:
    """An envelope that the device has sealed to the coordinator."""
    return open_envelope(
        answer,
        me=fleet.coordinator,
        directory=Directory({device.name: device}),
        expected=Expected(kind=frozenset(kinds), receiver="coordinator", sender=device.name),
        now=system_clock(),
        replay=None,
    )
