"""A prepared device, and the coordinator that asks it."""

import dataclasses
import json
import secrets
from pathlib import Path

from skerry.clock import system_clock
from skerry.device.participation import participate
from skerry.device.protocol import CommonVariate, Instruction
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker, process_worker
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Header, Kind, envelope_digest, open_envelope, seal
from skerry.security.identity import Identity
from skerry.security.privacy.ledger import Ledger
from skerry.server.prepare import noise_for
from skerry.server.provision import coordinator_identity, device_directory


class Bench:
    """A coordinator at its desk, with one device."""

    def __init__(self, folder: RunFolder, home: Path) -> None:
        self.folder = folder
        self.scenario = folder.scenario
        self.coordinator = coordinator_identity(folder)
        self.directory = device_directory(folder)
        self.worker = Worker()
        shared = process_worker()
        self.worker.tasks, self.worker.models, self.worker.inputs = shared.tasks, shared.models, shared.inputs
        self.resident = self.worker.resident(home)
        self.device = self.resident.home.device
        self.task = self.worker.task(self.scenario.task, self.scenario.model)
        base = json.loads((folder.path / "model" / "base.json").read_text())
        self.model = self.worker.model(self.scenario.model, base["digest"], self.task)
        privacy = self.scenario.privacy
        self.plan = TrainPlan(
            epochs=self.scenario.training.epochs,
            learning_rate=self.scenario.training.learning_rate,
            batch_size=0,
            momentum=0.0,
            unit="example",
            clip=privacy.clip,
            noise_multiplier=noise_for(self.scenario),
            denominator=privacy.denominator,
        )

    def instruct(
        self,
        number: int = 1,
        *,
        sender: Identity | None = None,
        seed: int | None = 0,
        receipt: bytes = b"",
        nonce: bytes | None = None,
        run: str | None = None,
        model: str | None = None,
        variate: CommonVariate | None = None,
        **changes,
    ) -> bytes:
        now = system_clock()
        header = Header(
            kind=Kind.INSTRUCTION,
            run=run or self.folder.id,
            round=number,
            sender="coordinator",
            receiver=self.device,
            model=model or self.model.digest,
            nonce=nonce or secrets.token_bytes(16),
            in_reply_to=b"",
            receipt=receipt,
            issued=now,
            expires=now + 60_000,
        )
        plan = dataclasses.replace(self.plan, **changes)
        instruction = Instruction(self.model.initial(), self.model.layout.digest, plan, seed, variate)
        return seal(
            header,
            instruction.to_bytes(),
            sender=sender or self.coordinator,
            receiver=self.directory.get(self.device),
        )

    def ask(self, envelope: bytes):
        answer = participate(envelope, self.resident, self.worker, system_clock)
        return open_envelope(
            answer,
            me=self.coordinator,
            directory=self.directory,
            expected=Expected(
                kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
                receiver="coordinator",
                sender=self.device,
                in_reply_to=envelope_digest(envelope),
            ),
            now=system_clock(),
            replay=None,
        )

    def refusal(self, envelope: bytes) -> str:
        opened = self.ask(envelope)
        assert opened.header.kind is Kind.REFUSAL
        return opened.payload.decode()

    def ledger(self) -> Ledger:
        return Ledger.open(self.resident.home.ledger)

    def debits(self) -> int:
        with self.ledger() as ledger:
            return sum(entry.kind == "debit" for entry in ledger.entries())


def change_home(bench: Bench, **changes) -> None:
    home = dataclasses.replace(bench.resident.home, **changes)
    bench.resident = dataclasses.replace(bench.resident, home=home)
