"""One bad reply costs that device its place in the round, never the round: hostile nodes around real devices."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.canonical import decode
from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import RECORD, fleet_homes
from skerry.device.app import app as honest_app
from skerry.device.care import Unattended, Undertaking
from skerry.device.protocol import CONDITIONS_LAPSED, Update
from skerry.device.worker import process_worker
from skerry.errors import DiskFullError, RefusedError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.security.envelope import receiver_of
from skerry.security.privacy.ledger import Ledger
from skerry.server import checkpoint as checkpoint_module
from skerry.server import rounds as rounds_module
from skerry.server.account import Spending
from skerry.server.checkpoint import Checkpoint, load_checkpoint
from skerry.server.collect import Replies, open_replies
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.plan import make_plan
from skerry.server.prepare import prepare
from skerry.server.rounds import run_rounds

Tamper = Callable[[str, int, bytes], "bytes | None"]


def hostile(tamper: Tamper) -> ClientApp:
    """Nodes whose owner may do anything with an answer, but has no device's keys."""
    node = ClientApp()
    count: dict[str, int] = {}

    @node.query("identify")
    def identify(message: Message, context: Context) -> Message:
        return honest_app(message, context)

    @node.train()
    def train(message: Message, context: Context) -> Message:
        device = receiver_of(message.content[RECORD]["envelope"])
        count[device] = count.get(device, 0) + 1
        reply = honest_app(message, context)
        envelope = tamper(device, count[device], reply.content[RECORD]["envelope"])
        if envelope is None:
            raise ValueError("a private word: xyzzy")
        return Message(RecordDict({RECORD: ConfigRecord({"envelope": envelope})}), reply_to=message)

    return node


def federate(parent: Path, node: ClientApp, *overrides: str) -> tuple[Federation, list]:
    scenario = default_scenario(["rounds=2", "attack.devices=0", *overrides])
    folder = RunFolder.create(parent, scenario, engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = InProcessGrid(node, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=180)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        with federation.ledger:
            records = run_rounds(federation).records
    return federation, records


def test_answers_that_are_not_the_devices_own_are_dropped_with_their_reasons(tmp_path):
    kept: dict[str, bytes] = {}

    def tamper(device: str, number: int, envelope: bytes) -> bytes | None:
        kept.setdefault(device, envelope)
        match device, number:
            case "writer-00", _:
                return None  # the app fails
            case "writer-01", 2:
                return kept[device]  # last round's answer again
            case "writer-02", _:
                return kept.get("writer-01", envelope)  # somebody else's answer
            case "writer-04", _:
                return envelope[:-1] + bytes([envelope[-1] ^ 1])
            case "writer-05", _:
                return b""
        return envelope

    federation, records = federate(tmp_path, hostile(tamper))
    first, second = records
    assert first.dropped == {
        "writer-00": "device_error",
        "writer-02": "not_authentic",
        "writer-04": "not_authentic",
        "writer-05": "not_authentic",
    }
    assert second.dropped["writer-01"] in {"stale", "replayed"}
    assert len(first.accepted) == 7
    assert all(np.isfinite(record.loss) for record in records)
    log = (federation.folder.path / "verdicts.jsonl").read_text()
    assert "xyzzy" not in log  # what a device's app says when it fails stays on the device


def test_an_answer_to_another_instruction_of_the_same_round_is_a_replay(tmp_path):
    kept: dict[str, bytes] = {}
    federation, _ = federate(
        tmp_path, hostile(lambda device, _, envelope: kept.setdefault(device, envelope)), "rounds=1"
    )
    asked_again = make_plan(federation, 1, list(federation.nodes), federation.model.initial())
    opened = open_replies(federation, asked_again, Replies(kept, arrived=dict.fromkeys(kept, system_clock())))
    assert not opened.updates
    assert set(opened.dropped.values()) == {"replayed"}


def test_instructions_and_updates_are_in_memory_for_no_longer_than_they_are_needed(tmp_path, monkeypatch):
    """Of ten thousand devices each of them is as large as the matrix that a step is made of."""
    instructions: list[dict[str, bytes]] = []
    updates: list[weakref.ref[Update]] = []
    alive: list[int] = []
    collected, screened = rounds_module.open_replies, rounds_module.screen

    def opening(federation, plan, replies):
        instructions.append(plan.envelopes)
        opened = collected(federation, plan, replies)
        updates.extend(map(weakref.ref, opened.updates.values()))
        return opened

    def screening(*given):
        alive.append(sum(one() is not None for one in updates))
        return screened(*given)

    monkeypatch.setattr(rounds_module, "open_replies", opening)
    monkeypatch.setattr(rounds_module, "screen", screening)
    _, records = federate(tmp_path, honest_app)
    assert [len(record.accepted) for record in records] == [len(updates) // 2] * 2
    assert alive == [0, 0]
    assert all(sent and not any(sent.values()) for sent in instructions)


def test_a_not_now_that_an_earlier_process_heard_is_not_its_last_word(tmp_path, monkeypatch):
    class Hot(Unattended):
        """It is hot where the first device is that is asked; later it is not."""

        def __init__(self) -> None:
            self.asked = 0

        def admit(self, work: Undertaking) -> None:
            self.asked += 1
            if self.asked == 1:
                raise RefusedError(CONDITIONS_LAPSED, "it is hot")

    plain, care, found = rounds_module.gather_round, Hot(), []

    def killed_and_gone_on(federation, progress, number, watch):
        before = plain(federation, progress, number, watch)
        opened = replace(federation.past, cohorts={number: tuple(federation.nodes)})
        found.extend([before.opened, care.asked])
        return plain(replace(federation, past=opened), progress, number, watch)

    monkeypatch.setattr(rounds_module, "gather_round", killed_and_gone_on)
    monkeypatch.setattr(process_worker(), "care", care)
    federation, (record,) = federate(tmp_path, honest_app, "rounds=1")
    before, asked = found
    assert set(before.refusals.values()) == {CONDITIONS_LAPSED}
    assert care.asked == asked + 1 == len(federation.nodes) + 1  # that one alone
    assert not record.dropped.keys() & before.refusals.keys()


@pytest.mark.parametrize(("late", "said"), [(0, None), (3_600_000, "stale")])
def test_an_answer_is_judged_by_when_it_came_and_not_by_when_it_is_opened(tmp_path, monkeypatch, late, said):
    """After a stop of an hour, or behind a device that takes as long, what came in time is as good as it was."""
    plain, kept = rounds_module.open_replies, {}

    def opening(federation, plan, replies):
        kept.update(plan=plan, replies=replies)
        return plain(federation, plan, replies)

    monkeypatch.setattr(rounds_module, "open_replies", opening)
    federation, _ = federate(tmp_path, honest_app, "rounds=1")
    later = replace(federation, clock=lambda: system_clock() + 3_600_000)
    came = {device: at + late for device, at in kept["replies"].arrived.items()}
    opened = open_replies(later, kept["plan"], replace(kept["replies"], arrived=came))
    assert set(opened.dropped.values()) == ({said} if said else set())


def test_a_round_with_too_few_answers_is_skipped_and_still_counted(tmp_path):
    federation, records = federate(tmp_path, hostile(lambda device, number, envelope: envelope if number > 1 else None))
    assert records[0].extra["skipped"]
    assert records[0].accepted == ()
    assert not records[1].extra["skipped"]
    assert records[0].vector_digest != records[1].vector_digest
    assert 0 < records[0].epsilon_max < records[1].epsilon_max
    with Ledger.open(federation.folder.path / "ledger" / "devices" / "writer-00.jsonl") as ledger:
        assert sum(entry.kind == "debit" for entry in ledger.entries()) == 2


def test_a_device_that_refuses_says_why_and_is_named(tmp_path, monkeypatch):
    import skerry.server.prepare as prepare_module

    real = prepare_module.noise_for
    monkeypatch.setattr(prepare_module, "noise_for", lambda scenario: real(scenario) / 3)
    _, records = federate(tmp_path, honest_app)
    assert set(records[0].extra["refusals"].values()) == {"budget_exceeded"}
    assert set(records[0].dropped.values()) == {"refused_by_device"}
    assert records[0].extra["skipped"]


def test_every_device_is_asked_for_as_many_views_as_the_scenario_says(tmp_path):
    federation, records = federate(tmp_path, honest_app, "rounds=1", "training.views=2")
    assert federation.plan_for(1).views == 2
    assert len(records[0].accepted) == 11


def test_missing_devices_are_named_and_nothing_is_trained(tmp_path):
    scenario = default_scenario(["rounds=1"])
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = InProcessGrid(honest_app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)[1:]])
        with pytest.raises(RunFailedError, match="writer-00"):
            discover(folder, grid, prepared.task.devices(), system_clock, patience_s=1)


def test_the_population_ledger_opens_a_round_before_any_instruction_leaves(tmp_path):
    seen: list[int] = []

    def tamper(device: str, number: int, envelope: bytes) -> bytes:
        folder = next(tmp_path.glob("*/ledger/population.jsonl"))
        seen.append(folder.read_text().count("round_open") - number)
        return envelope

    federate(tmp_path, hostile(tamper))
    assert seen
    assert set(seen) == {0}


def test_no_instruction_leaves_before_the_round_and_all_before_it_are_on_stable_storage(tmp_path, monkeypatch):
    synced: dict[str, int] = {}
    real = os.fsync

    def slow(fd: int) -> None:
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        size = os.fstat(fd).st_size
        time.sleep(0.03)  # longer than sealing takes
        real(fd)
        synced[name] = size

    def tamper(device: str, number: int, envelope: bytes) -> bytes:
        (folder,) = tmp_path.iterdir()
        behind = ["rounds.jsonl", "verdicts.jsonl"] if number > 1 else []
        for name in ["ledger/population.jsonl", *behind]:
            assert synced.get(str(folder / name)) == (folder / name).stat().st_size, name
        assert len(RunFolder(folder).rounds()) == number - 1
        checkpoint = load_checkpoint(RunFolder(folder))
        assert (checkpoint.round if checkpoint else 0) == number - 1
        seen.append(number)
        return envelope

    def push(self: InProcessGrid, messages: Iterable[Message]) -> list[str]:
        leaving = list(messages)
        if leaving[0].metadata.message_type == "train":
            (asked,) = tmp_path.glob("*/round/asked.cbor")
            begun.append(decode(asked.read_bytes())["round"])
        return plain(self, leaving)

    seen: list[int] = []
    begun: list[int] = []
    plain = InProcessGrid.push_messages
    monkeypatch.setattr(InProcessGrid, "push_messages", push)
    monkeypatch.setattr(os, "fsync", slow)
    federation, records = federate(tmp_path, hostile(tamper), "rounds=3")
    assert set(seen) == {1, 2, 3}
    assert begun == [1, 2, 3]
    assert not any(record.dropped for record in records)  # an assertion in a node would show as a device error
    assert [record.round for record in federation.folder.rounds()] == [1, 2, 3]
    assert load_checkpoint(federation.folder).round == 3


@pytest.mark.parametrize("failing", [1, 3])
def test_a_round_that_the_disk_does_not_take_is_the_last_one(tmp_path, monkeypatch, failing: int):
    asked: set[int] = set()
    real = checkpoint_module.append_durably

    def full(path: Path, line: bytes) -> None:
        if path.name == "rounds.jsonl" and b'"round": %d,' % failing in line:
            raise DiskFullError("no space left on the device", where=str(path), mend="free some space")
        real(path, line)

    def tamper(device: str, number: int, envelope: bytes) -> bytes:
        asked.add(number)
        return envelope

    monkeypatch.setattr(checkpoint_module, "append_durably", full)
    with pytest.raises(DiskFullError, match="no space"):
        federate(tmp_path, hostile(tamper), "rounds=3")
    assert asked == set(range(1, failing + 1))
    (folder,) = tmp_path.iterdir()
    assert len(RunFolder(folder).rounds()) == failing - 1


def test_an_interrupted_run_keeps_the_round_that_was_being_stored(tmp_path, monkeypatch):
    stored = threading.Event()
    real = checkpoint_module.save_checkpoint

    def slow(folder: RunFolder, checkpoint: Checkpoint) -> None:
        stored.wait(0.3)  # nobody sets it: the interrupt comes first
        real(folder, checkpoint)

    draw = rounds_module.draw_cohort

    def interrupt(federation: Federation, number: int, spending: Spending) -> tuple[str, ...]:
        if number == 2:
            raise KeyboardInterrupt
        return draw(federation, number, spending)

    monkeypatch.setattr(checkpoint_module, "save_checkpoint", slow)
    monkeypatch.setattr(rounds_module, "draw_cohort", interrupt)
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, honest_app)
    (folder,) = tmp_path.iterdir()
    assert [record.round for record in RunFolder(folder).rounds()] == [1]
    assert load_checkpoint(RunFolder(folder)).round == 1
