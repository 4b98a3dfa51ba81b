"""An honest device, and the coordinator that it trusts wrongly."""

import dataclasses
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import encode
from skerry.clock import system_clock
from skerry.device.participation import participate
from skerry.device.protocol import to_bytes
from skerry.device.state import DeviceHome
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.worker import Worker, process_worker
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Header, Kind, Opened, envelope_digest, open_envelope, seal
from skerry.security.privacy.ledger import Ledger
from skerry.server.prepare import train_plan
from skerry.server.provision import coordinator_identity, device_directory


@dataclasses.dataclass
class Victim:
    """An honest device with a home and a ledger of its own, and the coordinator's keys."""

    folder: RunFolder
    home: DeviceHome

    def __post_init__(self) -> None:
        self.worker = Worker()
        shared = process_worker()
        self.worker.tasks, self.worker.inputs = shared.tasks, shared.inputs
        self.resident = self.worker.resident(self.home.path)
        self.coordinator, self.directory = coordinator_identity(self.folder), device_directory(self.folder)
        self.task = self.worker.task(self.home.task, self.home.model)
        self.base = json.loads((self.folder.path / "model" / "base.json").read_text())["digest"]
        self.model = self.worker.model(self.home.model, self.base, self.task)

    def ask(
        self, vector: Float32Array | None = None, *, base: str | None = None, plan: Mapping[str, Any] | None = None
    ) -> Opened:
        """The device's answer to a plan that is written field by field: a hostile server checks nothing."""
        words = encode(
            {
                "vector": to_bytes(self.model.initial() if vector is None else vector),
                "layout": self.model.layout.digest,
                "plan": {**asdict(train_plan(self.folder.scenario)), **(plan or {})},
                "seed": 0,
            }
        )
        now = system_clock()
        header = Header(
            kind=Kind.INSTRUCTION,
            run=self.folder.id,
            round=1,
            sender="coordinator",
            receiver=self.home.device,
            model=base or self.base,
            nonce=secrets.token_bytes(16),
            in_reply_to=b"",
            issued=now,
            expires=now + 60_000,
        )
        envelope = seal(header, words, sender=self.coordinator, receiver=self.directory.get(self.home.device))
        return open_envelope(
            participate(envelope, self.resident, self.worker, system_clock),
            me=self.coordinator,
            directory=self.directory,
            expected=Expected(
                kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
                receiver="coordinator",
                sender=self.home.device,
                in_reply_to=envelope_digest(envelope),
            ),
            now=system_clock(),
            replay=None,
        )

    def refusal(self, *args: Any, **kwargs: Any) -> str:
        """The reason of a refusal, which must have cost no privacy."""
        opened = self.ask(*args, **kwargs)
        assert opened.header.kind is Kind.REFUSAL
        with Ledger.open(self.home.ledger) as ledger:
            assert not any(entry.kind == "debit" for entry in ledger.entries())
        return opened.payload.decode()

    @property
    def examples(self) -> tuple[Float32Array, npt.NDArray[np.int64]]:
        return self.worker.local_inputs(self.home.device, self.task, self.model)


def assert_bounded(vector: Float32Array, rows: Float32Array, labels: np.ndarray, victim: Victim) -> None:
    """Adding or removing any one example moves the integer sum by at most the bound that the noise is made for."""
    plan = train_plan(victim.folder.scenario)
    trainer = HeadTrainer(*victim.model.layout.tensors[0][1])
    grid = Grid(plan.clip, plan.noise_multiplier, len(vector))
    weight = vector.astype(np.float64).reshape(trainer.classes, -1)

    def total(kept: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return trainer.integer_sum(weight, rows[kept].astype(np.float64), labels[kept], grid)

    everybody = total(np.arange(len(rows)))
    for left_out in range(len(rows)):
        change = everybody - total(np.delete(np.arange(len(rows)), left_out))
        assert int(change @ change) <= grid.bound**2
