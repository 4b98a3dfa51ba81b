"""Whoever runs the SuperLink reads, forges, redirects, replays, reorders, drops and delays; it gains nothing by it.

A real SuperLink with TLS, node keys and an SQLite database; three devices at nodes of their own. The operator has the
database and rewrites it between any two messages. What it does in which round is a plan; the rest is a run as ever.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app
from skerry.device.protocol import Instruction, Update
from skerry.device.worker import process_worker
from skerry.errors import EnvelopeRefusedError
from skerry.runfolder import RunFolder
from skerry.security import Kind, Opened
from skerry.security.privacy.ledger import Ledger
from skerry.server.conduct import conduct
from skerry.server.engines.engine import fleet_homes
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.engines.processes import Children
from skerry.server.prepare import prepare
from skerry.server.provision import coordinator_identity, device_directory

from ._fleet import Device, SuperLink, coordinating
from ._superlink_operator import (
    ANSWERED,
    DEVICE_REASONS,
    INSTRUCTED,
    OUTCOME,
    A,
    B,
    C,
    Database,
    Operator,
    read,
)

HERE = Path(__file__).parent
ROUNDS = 8
OVERRIDES = (
    "task.name=few_writers:ThreeWriters",
    f"rounds={ROUNDS}",
    "seed=11",
    "attack.devices=0",
    "defence.aggregator=mean",
    "defence.tolerate=0",
    "report.references=false",
)

pytestmark = [pytest.mark.engine]


class Missing:
    """The same run without a SuperLink: who lost its place there is not asked here."""

    def __init__(self, grid: InProcessGrid, names: list[str]) -> None:
        self._grid, self._names, self._round = grid, names, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        messages = list(messages)
        if messages[0].metadata.message_type != "train":
            return list(self._grid.push_messages(messages))
        self._round += 1
        return [
            None
            if self._names[m.metadata.dst_node_id - 2] in OUTCOME[self._round]
            else self._grid.push_messages([m])[0]
            for m in messages
        ]


@dataclass
class Ended:
    """A run and everything that was seen of it."""

    folder: RunFolder
    operator: Operator
    reasons: list[tuple[int, str, str]]


def prepared(parent: Path, engine: str) -> RunFolder:
    folder = RunFolder.create(parent, default_scenario(OVERRIDES), engine=engine)
    prepare(folder, system_clock, process_worker())
    return folder


class Reasons(logging.Handler):
    """The reason codes with which devices' apps turn messages away, from the log in which they stay."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str, str]] = []
        self.operator: Operator | None = None

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        assert isinstance(error, EnvelopeRefusedError)
        assert self.operator is not None
        self.said.append((self.operator.round, self.operator.serving, error.reason))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """The whole hostile run, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        root = tmp_path_factory.mktemp("hostile")
        folder = prepared(root / "runs", "superlink")
        log, reasons = logging.getLogger("skerry.device.discretion"), Reasons()
        log.addHandler(reasons)
        log.propagate = False
        try:
            with Children() as children:
                link = SuperLink(root / "link", children)
                devices = {home.name: Device(home.name, home, link) for home in fleet_homes(folder)}
                with coordinating(link) as (grid, run):
                    operator = Operator(grid, Database(link.database), devices, INSTRUCTED, ANSWERED)
                    reasons.operator = operator
                    patch.setattr("skerry.server.mailbox.time", operator)
                    conduct(folder, operator, system_clock, flwr_run=run)
                for device in devices.values():
                    device.close()
        finally:
            log.removeHandler(reasons)
            log.propagate = True
        yield Ended(folder, operator, reasons.said)


def test_the_run_ends_with_the_honest_answers_and_says_why_others_are_missing(ended: Ended) -> None:
    assert ended.folder.status["state"] == "complete"
    records = ended.folder.rounds()
    assert {record.round: dict(record.dropped) for record in records} == OUTCOME
    for record in records:
        assert set(record.accepted) == {A, B, C} - OUTCOME[record.round].keys()
    assert ended.reasons == DEVICE_REASONS


def test_nothing_is_accepted_that_was_not_sent(ended: Ended, tmp_path: Path) -> None:
    """The model is, to the last bit, that of a run in which those who lost their place were not asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        folder = prepared(tmp_path, "inprocess")
        homes = fleet_homes(folder)
        nodes: list[dict[str, str | int]] = [{"skerry-home": str(home)} for home in homes]
        with task_identity(1):
            conduct(folder, Missing(InProcessGrid(app, nodes), [h.name for h in homes]), system_clock, flwr_run=1)
    digests = [record.vector_digest for record in folder.rounds()]
    assert [record.vector_digest for record in ended.folder.rounds()] == digests
    assert len(set(digests)) == ROUNDS


def test_no_device_spends_twice_or_for_what_it_was_not_asked(ended: Ended) -> None:
    """What a device debits are the rounds whose own instruction it got, in their order, each once."""
    missed = {A: {3, 8}, B: {2, 3, 5, 7, 8}, C: set()}
    for name, device in ended.operator.devices.items():
        with Ledger.open(process_worker().resident(device.home).home.ledger) as ledger:
            rounds = [debit.round for debit in ledger.debited(ended.folder.id)][::-1]
        assert rounds == [number for number in range(1, ROUNDS + 1) if number not in missed[name]]


def test_the_database_holds_the_envelopes_and_nothing_of_what_is_in_them(ended: Ended) -> None:
    operator, coordinator = ended.operator, coordinator_identity(ended.folder)
    looked = 0
    for number in range(1, ROUNDS + 1):
        for name, device in operator.devices.items():
            resident = process_worker().resident(device.home)
            sent = [(operator.down[number, name], resident.identity, resident.directory, 2 * number - 2)]
            if (number, name) in operator.up:
                known = device_directory(ended.folder)
                sent.append((operator.up[number, name], coordinator, known, 2 * number - 1))
            for envelope, me, directory, moment in sent:
                on_disk = operator.seen[moment]
                # This is where messages lie, as they are, but for pieces that go over the edge of a page.
                lying = [piece in on_disk for piece in pieces(envelope)]
                assert np.mean(lying) > 0.8
                for secret in secrets_of(read(envelope, me, directory)):
                    looked += 1
                    assert secret not in on_disk, (number, name, secret)
    assert looked > 500


def secrets_of(opened: Opened) -> Iterator[bytes]:
    """Pieces of the payload: of its vector, and the names of what else it says."""
    if opened.header.kind is Kind.REFUSAL:
        return
    if opened.header.kind is Kind.INSTRUCTION:
        values, names = Instruction.from_bytes(opened.payload).vector, (b"noise_multiplier", b"learning_rate")
    else:
        values, names = Update.from_bytes(opened.payload).delta, (b"ledger_head", b"ledger_root")
    for name in names:
        assert name in opened.payload
        yield name
    yield from (piece for piece in pieces(np.ascontiguousarray(values, "<f4").tobytes()) if any(piece))


def pieces(data: bytes) -> list[bytes]:
    """Sixteen bytes here and there."""
    return [data[start : start + 16] for start in range(0, len(data) - 16, max(16, len(data) // 16))]


def test_a_message_on_the_superlink_is_one_record_of_one_byte_string(ended: Ended) -> None:
    assert ended.operator.records == {("envelope",)}
