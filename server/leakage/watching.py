"""The coordinator's view of devices: sealed instructions out, sealed answers opened, whatever it chooses to send."""

import secrets
from collections.abc import Sequence

import numpy as np

from skerry.clock import Clock
from skerry.device.local_model import LocalModel
from skerry.device.participation import participate
from skerry.device.protocol import Instruction, Update
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.errors import InputError, RefusedError
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Header, Kind, envelope_digest, open_envelope, seal
from skerry.server.coordinator import COORDINATOR
from skerry.server.leakage.inversion import Seen, check_invertible
from skerry.server.prepare import train_plan
from skerry.server.provision import coordinator_identity, device_directory
from skerry.strategies import parse_rule

__all__ = ["Exchange"]

_LIFETIME_MS = 60_000


class Exchange:
    """A coordinator beside the devices of a prepared run; each answer costs a device what its plan says.

    Args:
        folder: prepared, and run by nobody else.
        model: of the run.
        worker: holds the devices.
        clock: milliseconds since the epoch.
    """

    def __init__(self, folder: RunFolder, model: LocalModel, worker: Worker, clock: Clock) -> None:
        self._folder, self._model, self._worker, self._clock = folder, model, worker, clock
        self._keys, self._directory = coordinator_identity(folder), device_directory(folder)
        self.plan = train_plan(folder.scenario)

    def ask(self, device: str, number: int, vector: Float32Array, plan: TrainPlan) -> Seen:
        """What a device says to an instruction of this round.

        Raises:
            InputError: see :func:`~skerry.server.leakage.inversion.check_invertible`; the device was not asked.
            RefusedError: nothing but its reason.
        """
        check_invertible(plan)
        now = self._clock()
        header = Header(
            kind=Kind.INSTRUCTION,
            run=self._folder.id,
            round=number,
            sender=COORDINATOR,
            receiver=device,
            model=self._model.digest,
            nonce=secrets.token_bytes(16),
            in_reply_to=b"",
            issued=now,
            expires=now + _LIFETIME_MS,
        )
        words = Instruction(vector, self._model.layout.digest, plan, self._folder.scenario.seed).to_bytes()
        envelope = seal(header, words, sender=self._keys, receiver=self._directory.get(device))
        resident = self._worker.resident(self._folder.path / "fleet" / device)
        opened = open_envelope(
            participate(envelope, resident, self._worker, self._clock),
            me=self._keys,
            directory=self._directory,
            expected=Expected(
                kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
                receiver=COORDINATOR,
                sender=device,
                in_reply_to=envelope_digest(envelope),
            ),
            now=self._clock(),
            replay=None,
        )
        if opened.header.kind is Kind.REFUSAL:
            raise RefusedError(opened.payload.decode(), "the device refused", where=device)
        return Seen(vector, Update.from_bytes(opened.payload).delta, plan)

    def run(self, devices: Sequence[str]) -> dict[str, list[Seen]]:
        """All rounds of the scenario with its aggregation rule, and what each device sent; without screening.

        Raises:
            InputError: the scenario's rounds differ from one another, or its server takes other steps than the rule's.
            RefusedError: as :meth:`ask`.
        """
        scenario, training = self._folder.scenario, self._folder.scenario.training
        server = (training.server_optimizer, training.server_learning_rate, training.server_momentum)
        if (training.schedule, *server, training.scaffold) != ("constant", "fedavgm", 1, 0, False):
            raise InputError(
                "the rounds that are watched all have one plan, and the server takes the step that its rule gives",
                where="leakage",
                mend='training.schedule = "constant", training.server_optimizer = "fedavgm", '
                "training.server_learning_rate = 1, training.server_momentum = 0, training.scaffold = false",
            )
        rule = parse_rule(scenario.defence.aggregator, tolerate=scenario.defence.tolerate)
        seen: dict[str, list[Seen]] = {device: [] for device in devices}
        vector = self._model.initial()
        for number in range(1, scenario.rounds + 1):
            for device in devices:
                seen[device].append(self.ask(device, number, vector, self.plan))
            vector = vector + rule(np.stack([seen[device][-1].delta for device in devices]))
        return seen
