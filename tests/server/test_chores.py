"""Sealing and opening by the processes of the devices: the same round to the last bit, and only in a simulation."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import RECORD, fleet_homes
from skerry.device.app import app as honest_app
from skerry.device.protocol import Update
from skerry.device.worker import process_worker
from skerry.errors import InterruptedRunError
from skerry.runfolder import RunFolder, list_runs
from skerry.security.envelope import Expected, Header, Kind, open_envelope, receiver_of, seal
from skerry.security.hpke import KemSuite
from skerry.security.identity import Directory, Identity
from skerry.security.privacy.receipt import SignedReceipt
from skerry.server import chores
from skerry.server import rounds as rounds_module
from skerry.server.checkpoint import load_checkpoint
from skerry.server.collect import Opened
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.forked_grid import ForkedGrid
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.launch import launch, resume
from skerry.server.opening import OPEN, open_part
from skerry.server.prepare import prepare
from skerry.server.rounds import run_rounds
from skerry.server.sealing import SEAL, Addressed, seal_instructions, seal_part

Part = Callable[[], bytes]
CHORES = {SEAL: seal_part, OPEN: open_part}
QUICK = ("training.epochs=1", "report.references=false")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """However few there are, they are shared out; the chores that were."""
    done: list[str] = []

    def offer(self: ForkedGrid, chore: str, part: Part) -> Part:
        if done[-1:] != [chore]:  # several parts each time
            done.append(chore)
        return plain(self, chore, part)

    plain = ForkedGrid.offer
    monkeypatch.setattr(ForkedGrid, "offer", offer)
    monkeypatch.setattr(chores, "_FEW", 1)
    return done


def hostile() -> ClientApp:
    """Nodes whose owner does to answers what an owner may; what one does hangs on the devices of its process alone."""
    node = ClientApp()
    kept: dict[str, bytes] = {}

    @node.query("identify")
    def identify(message: Message, context: Context) -> Message:
        return honest_app(message, context)

    @node.train()
    def train(message: Message, context: Context) -> Message:
        device = receiver_of(message.content[RECORD]["envelope"])
        envelope = honest_app(message, context).content[RECORD]["envelope"]
        before = kept.setdefault(device, envelope)
        match device:
            case "writer-00":
                raise ValueError("a private word")
            case "writer-01":
                envelope = before  # in the second round the first one's answer
            case "writer-03":
                envelope = kept["writer-01"]  # somebody else's, who lives in the same process
            case "writer-04":
                envelope = envelope[:-1] + bytes([envelope[-1] ^ 1])
            case "writer-05":
                envelope = b""
        return Message(RecordDict({RECORD: ConfigRecord({"envelope": envelope})}), reply_to=message)

    return node


def federate(parent: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, *, forked: bool) -> Federation:
    scenario = default_scenario(["rounds=2", "attack.devices=0", *QUICK])
    folder = RunFolder.create(parent, scenario, engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    homes = [{"skerry-home": str(home)} for home in fleet_homes(folder.path)]

    def opening(*given: Any) -> Opened:
        opened.append(plain(*given))
        return opened[-1]

    plain = rounds_module.open_replies
    with task_identity(1), monkeypatch.context() as patch:
        patch.setattr(rounds_module, "open_replies", opening)
        grid = ForkedGrid(hostile(), homes, processes=2, chores=CHORES) if forked else InProcessGrid(hostile(), homes)
        with grid if isinstance(grid, ForkedGrid) else task_identity(1):
            nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=180)
            federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
            with federation.ledger:
                run_rounds(federation)
    return federation


def told(opened: Opened) -> Mapping[str, Any]:
    """What of a round's opened answers does not hang on the hour or on a nonce."""
    updates = {
        device: (update.delta.tobytes(), update.layout, update.loss) for device, update in opened.updates.items()
    }
    return {"updates": updates, "dropped": opened.dropped, "refusals": opened.refusals, "signed": set(opened.receipts)}


def test_whoever_opens_them_the_same_answers_count_and_the_others_fall_for_the_same_reasons(
    tmp_path: Path, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[bool, list[Opened]] = {False: [], True: []}
    for forked, found in opened.items():
        federation = federate(tmp_path / str(forked), found, monkeypatch, forked=forked)
        for receipt in (one for round_ in found for one in round_.receipts.values()):
            receipt.check_signed(federation.directory.get(receipt.receipt.device))
    assert shared == [SEAL, OPEN, SEAL, OPEN]
    assert [told(one) for one in opened[True]] == [told(one) for one in opened[False]]
    assert {one.value for one in opened[True][1].dropped.values()} >= {"device_error", "not_authentic"}
    assert opened[True][1].dropped["writer-01"].value in {"stale", "replayed"}
    assert [list(one.updates) for one in opened[True]] == [list(one.updates) for one in opened[False]]


def test_a_run_whose_work_is_shared_ends_with_the_same_vector(tmp_path: Path, shared: list[str]) -> None:
    runs = [
        launch(default_scenario(["rounds=2", *QUICK]), engine="inprocess", parent=tmp_path / str(n), processes=n)
        for n in (1, 2)
    ]
    assert shared == [SEAL, OPEN, SEAL, OPEN]
    assert np.array_equal(*(load_checkpoint(run).vector for run in runs))
    kept = [[(record.accepted, record.dropped, record.vector_digest) for record in run.rounds()] for run in runs]
    assert kept[0] == kept[1]


def test_answers_are_opened_while_others_come(
    tmp_path: Path, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(*given: Any, **named: Any) -> Any:
        found = plain(*given, **named)
        shared.append("collected")
        return found

    plain = rounds_module.collect
    monkeypatch.setattr(rounds_module, "collect", collect)
    run = launch(default_scenario(["rounds=1", *QUICK]), engine="inprocess", parent=tmp_path, processes=2)
    assert shared[:3] == [SEAL, OPEN, "collected"]
    assert len(run.rounds()[0].accepted) > 5


@pytest.mark.parametrize("chore", [SEAL, OPEN])
def test_a_run_that_ends_in_the_middle_of_a_chore_goes_on_to_the_same_vector(
    chore: str, tmp_path: Path, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = default_scenario(["rounds=2", *QUICK])
    warm = launch(scenario, engine="inprocess", parent=tmp_path / "warm", processes=2)
    plain = ForkedGrid.offer

    def offer(self: ForkedGrid, name: str, part: Part) -> Part:
        if name == chore and shared.count(name) == 3 and shared[-1] != name:  # two of the run before
            raise KeyboardInterrupt
        return plain(self, name, part)

    with monkeypatch.context() as patch:
        patch.setattr(ForkedGrid, "offer", offer)
        with pytest.raises(InterruptedRunError, match="after 1 of 2 rounds"):
            launch(scenario, engine="inprocess", parent=tmp_path / "cut", processes=2)
    (cut,) = list_runs(tmp_path / "cut")
    resume(cut.id, parent=tmp_path / "cut", processes=2)
    assert np.array_equal(load_checkpoint(cut).vector, load_checkpoint(warm).vector)
    assert [record.vector_digest for record in cut.rounds()] == [record.vector_digest for record in warm.rounds()]


class Hands(InProcessGrid):
    """A grid that says it has hands, and does chores at once."""

    hands = 2

    def offer(self, chore: str, part: Part) -> Part:
        return lambda: CHORES[chore](part())


def with_hands(parent: Path) -> Federation:
    folder = RunFolder.create(parent, default_scenario(["rounds=1"]), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = Hands(honest_app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=180)
        return Federation.assemble(folder, prepared, grid, nodes, system_clock)


def test_the_keys_of_a_real_coordinator_leave_its_process_nowhere(tmp_path: Path) -> None:
    simulated = with_hands(tmp_path)
    with simulated.ledger:
        assert chores.helpers(simulated, 1000, 10_000) is simulated.grid
        assert chores.helpers(replace(simulated, secret=bytes(32)), 1000, 10_000) is None
        assert chores.helpers(simulated, 2, 10_000) is None
        assert chores.helpers(simulated, 1000, 64 << 20) is None


@pytest.mark.parametrize("few", [1, 10_000])
def test_an_instruction_opens_for_its_device_alone_whoever_sealed_it(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "_FEW", few)
    federation = with_hands(tmp_path)
    names = sorted(federation.nodes)
    to = [Addressed(name, bytes([i]) * 16, bytes(32), b"words" * (1 + i % 2)) for i, name in enumerate(names)]
    now = system_clock()
    with federation.ledger:
        sealed = list(seal_instructions(federation, 3, to, issued=now, expires=now + 60_000))
    coordinator = Directory({federation.coordinator.name: federation.coordinator.public})
    for i, (envelope, digest) in enumerate(sealed):
        me = Identity.load(federation.folder.path / "fleet" / names[i] / "identity.json")
        opened = open_envelope(
            envelope,
            me=me,
            directory=coordinator,
            expected=Expected(kind=frozenset({Kind.INSTRUCTION}), receiver=names[i], run=federation.run, round=3),
            now=now,
            replay=None,
        )
        assert opened.payload == to[i].words
        assert opened.digest == digest
        assert (opened.header.nonce, opened.header.expires) == (to[i].nonce, now + 60_000)
        assert opened.header.receipt == bytes(32)
        assert me.open(sealed[i - 1][0], b"") is None


def answer(
    kind: Kind, payload: bytes, sender: Identity, receiver: Identity, *, name: str = "ann", receipt: bytes = b""
) -> bytes:
    header = Header(
        suite=receiver.kem.suite,
        kind=kind,
        run="run",
        round=1,
        sender=name,
        receiver=receiver.name,
        model="ab" * 32,
        nonce=bytes(16),
        in_reply_to=bytes(32),
        receipt=receipt,
        issued=1_000_000,
        expires=1_060_000,
    )
    return seal(header, payload, sender=replace(sender, name=name), receiver=receiver.public)


def test_of_what_is_not_an_update_that_holds_the_chore_says_nothing() -> None:
    me, ann, eve = (Identity.generate(name) for name in ("coordinator", "ann", "eve"))
    update = Update(np.ones(3, np.float32), "cd" * 32, "ef" * 32, 2, "01" * 32)
    receipt = update.receipt("run", 1, "ann").digest
    good = answer(Kind.UPDATE, update.to_bytes(), ann, me, receipt=receipt)
    cases = {
        "sound": (bytes(32), good, 1_000_000),
        "too late": (bytes(32), good, 2_000_000),
        "to another instruction": (bytes([1]) * 32, good, 1_000_000),
        "signed by eve": (bytes(32), answer(Kind.UPDATE, update.to_bytes(), eve, me, receipt=receipt), 1_000_000),
        "of eve": (bytes(32), answer(Kind.UPDATE, update.to_bytes(), eve, me, name="eve", receipt=receipt), 1_000_000),
        "another receipt": (bytes(32), answer(Kind.UPDATE, update.to_bytes(), ann, me, receipt=bytes(32)), 1_000_000),
        "no update": (bytes(32), answer(Kind.UPDATE, b"", ann, me, receipt=receipt), 1_000_000),
        "a refusal": (bytes(32), answer(Kind.REFUSAL, update.to_bytes(), ann, me, receipt=receipt), 1_000_000),
        "sealed to eve": (bytes(32), answer(Kind.UPDATE, update.to_bytes(), ann, eve, receipt=receipt), 1_000_000),
        "no envelope": (bytes(32), b"none", 1_000_000),
    }
    common = [chores.keys_of(me), ["run", 1, "ab" * 32]]
    rows = [[chores.public_keys_of(ann.public), *case] for case in cases.values()]
    said = dict(zip(cases, cbor2.loads(open_part(cbor2.dumps([common, rows]))), strict=True))
    assert [case for case, found in said.items() if found is not None] == ["sound"]
    delta, layout, head, size, root, loss, body, signature = said["sound"]
    assert (delta, layout, loss) == (update.delta.tobytes(), update.layout, None)
    assert (head, size, root) == (update.ledger_head, update.ledger_size, update.ledger_root)
    SignedReceipt(update.receipt("run", 1, "ann"), body, signature).check_signed(ann.public)


def test_keys_come_out_of_the_pipe_as_they_went_in() -> None:
    for suite in KemSuite:
        me = Identity.generate("coordinator", suite)
        again = chores.identity_of(chores.keys_of(me))
        assert (again.public, again.kem) == (me.public, me.kem)
        assert chores.public_of(chores.public_keys_of(me.public)) == me.public
