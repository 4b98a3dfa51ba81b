"""Answers that come late are dropped with a reason, debited once and counted; and how long rounds wait."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from flwr.app import Error, Message

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.security.privacy.verification import read_entries, read_ledger
from skerry.server import collect as collect_module
from skerry.server import rounds
from skerry.server.asked import asked_of
from skerry.server.collect import collect, open_replies
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import ErrorKind, task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.fleet_rules import devices_needed
from skerry.server.journal import RoundJournal
from skerry.server.needed import Needed
from skerry.server.plan import make_plan
from skerry.server.prepare import prepare
from skerry.server.progress import Waited
from skerry.server.rounds import run_rounds
from tests.server.test_device_level import DEVICE

MANY = ("cohort.sampling=fixed", "cohort.size=6", "cohort.over_select=1.4")


class Holding(InProcessGrid):
    """Gives the first answer of one node only when the next round has begun."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.slow: int | None = None
        self._held: list[Message] = []
        self._release = False

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self._release = bool(self._held)
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        if self._release:
            wanted = set(message_ids)
            return [*replies, *(reply for reply in self._held if reply.metadata.reply_to_message_id in wanted)]
        self._held += [reply for reply in replies if reply.metadata.src_node_id == self.slow]
        return [reply for reply in replies if reply.metadata.src_node_id != self.slow]


def federate(parent, *overrides, slow: str | None = None):
    scenario = default_scenario(["rounds=3", "attack.devices=0", "report.references=false", *overrides])
    folder = RunFolder.create(parent, scenario, engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = Holding(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        grid.slow = None if slow is None else nodes[slow]
        with federation.ledger:
            records = run_rounds(federation).records
    return federation, records


def test_a_late_answer_is_counted_debited_once_and_in_no_model(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Needed, "deadline_s", lambda *_: 3.0)  # as if that had been learned
    federation, records = federate(tmp_path, slow="writer-02")
    assert records[0].dropped["writer-02"] == "no_reply"
    assert "writer-02" not in records[0].accepted
    assert [record.extra.get("late") for record in records] == [None, {"writer-02": 1}, None]
    assert all("writer-02" in record.accepted for record in records[1:])
    population = federation.folder.path / "ledger" / "population.jsonl"
    assert asked_of(read_entries(population)[0])["writer-02"].rounds == 3
    own = read_ledger(federation.folder.path / "ledger" / "devices" / "writer-02.jsonl")
    assert own.debits == 3
    assert records[-1].epsilon_max == pytest.approx(own.spending.epsilon(1e-5))


def test_of_more_that_are_asked_so_many_count_and_the_others_are_late_and_have_spent(tmp_path) -> None:
    federation, records = federate(tmp_path / "a", *MANY)
    for record in records:
        late = [device for device, reason in record.dropped.items() if reason == "late"]
        assert len(late) == 3  # of nine: 1.4 times six, rounded up
        assert len(record.accepted) + len(record.flagged) == 6
    asked = asked_of(read_entries(federation.folder.path / "ledger" / "population.jsonl")[0])
    assert sum(one.rounds for one in asked.values()) == 9 * 3
    _, again = federate(tmp_path / "b", *MANY)
    assert [record.vector_digest for record in again] == [record.vector_digest for record in records]
    assert [record.dropped for record in again] == [record.dropped for record in records]


def test_over_a_network_a_round_is_over_when_enough_updates_came(tmp_path) -> None:
    folder = RunFolder.create(tmp_path, default_scenario(["attack.devices=0", *MANY]), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = Trickling(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        cohort = sorted(nodes)[:9]
        plan = make_plan(federation, 1, cohort, federation.model.initial())
        real = replace(federation, secret=bytes(32))
        grid.forged = nodes[cohort[0]]
        replies = collect(real, plan, RoundJournal(folder.path), deadline_s=60)
        opened = open_replies(real, plan, replies)
    federation.ledger.close()
    needed = Needed(1.0, 600.0)
    rounds._learn(real, needed, plan, opened, Waited(0, 90_000, dict.fromkeys(replies.arrived, 5_000)))
    assert needed.deadline_s([""]) == 600.0  # nine asked, and one answer that nobody can tell from a stranger's
    rounds._learn(real, needed, plan, opened, Waited(0, 90_000, dict.fromkeys(replies.arrived, 5_000)))
    assert needed.deadline_s([""]) == 90.0  # two in eight need longer than they were waited for
    assert len(replies.envelopes) == 7  # six updates, and one that is none and ends nothing
    assert sorted(replies.dropped.values()) == ["not_awaited", "not_awaited"]


class Away(InProcessGrid):
    """One node is away for some looks, which is said in its place; another may be silent."""

    away: int | None = None
    silent: int | None = None
    looks = 1

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        under_way = {one: self._pushed[one] for one in set(message_ids) & self._pushed.keys()}
        message_ids = {one for one, message in under_way.items() if message.metadata.dst_node_id != self.silent}
        gone = [one for one, message in under_way.items() if message.metadata.dst_node_id == self.away]
        if not gone or not self.looks:
            return super().pull_messages(message_ids)
        self.looks -= 1
        said = [Message(Error(ErrorKind.NODE_UNAVAILABLE, "offline"), reply_to=self._pushed.pop(one)) for one in gone]
        return [*said, *super().pull_messages(message_ids - set(gone))]


def test_without_enough_others_a_device_that_is_offline_is_waited_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(collect_module, "_AGAIN", 1 / 180)  # after a second
    folder = RunFolder.create(tmp_path, default_scenario(["attack.devices=0"]), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = Away(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        cohort = sorted(nodes)[: devices_needed(federation.scenario)]
        grid.away = nodes[cohort[0]]
        plan = make_plan(federation, 1, cohort, federation.model.initial())
        replies = collect(replace(federation, secret=bytes(32)), plan, RoundJournal(folder.path), deadline_s=180)
    federation.ledger.close()
    assert (replies.envelopes.keys(), replies.dropped) == (set(cohort), {})


@pytest.mark.parametrize("silent", [False, True])
def test_at_device_level_nobodys_silence_decides_whether_another_takes_part(tmp_path, monkeypatch, silent) -> None:
    """Else who is there moves the sum by its own update and by that of one who was away."""
    monkeypatch.setattr(collect_module, "_AGAIN", 1 / 6)
    folder = RunFolder.create(tmp_path, default_scenario([*DEVICE, "privacy.denominator=11"]), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = Away(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        away, other, third = sorted(nodes)[:3]
        grid.away, grid.silent = nodes[away], nodes[other] if silent else None
        plan = make_plan(federation, 1, (away, other, third), federation.model.initial())
        real = replace(federation, secret=bytes(32))
        replies = collect(real, plan, RoundJournal(folder.path), deadline_s=6)
    federation.ledger.close()
    assert away not in replies.envelopes
    assert replies.dropped[away] == "device_error"


class Trickling(InProcessGrid):
    """Gives one answer a look, in the order of nodes; that of one node is not authentic."""

    forged: int | None = None

    def pull_messages(self, message_ids):
        if self.forged is None:
            return super().pull_messages(message_ids)
        for one in sorted(message_ids):
            for reply in super().pull_messages({one}):
                if reply.metadata.src_node_id == self.forged:
                    record = next(iter(reply.content.config_records.values()))
                    envelope = bytes(record["envelope"])
                    record["envelope"] = envelope[:-1] + bytes([envelope[-1] ^ 1])
                return [reply]
        return []


def test_a_round_waits_as_long_as_nine_in_ten_of_its_slowest_class_needed() -> None:
    needed = Needed(5.0, 100.0)
    assert needed.deadline_s({"pi"}) == 100.0  # nothing is known
    for seconds in range(1, 10):
        needed.note("pi", seconds)
    assert needed.deadline_s({"pi"}) == 100.0  # nine times are too few
    needed.note("pi", 10)
    assert needed.deadline_s({"pi"}) == 10.0
    for _ in range(20):
        needed.note("phone", 2.0)
    assert needed.deadline_s({"phone"}) == 5.0  # never less than the least
    assert needed.deadline_s({"phone", "pi"}) == 10.0
    assert needed.deadline_s({"phone", "laptop"}) == 100.0
    for _ in range(3):
        needed.note("phone")  # silent to the end
    assert needed.deadline_s({"phone"}) == 100.0
    assert Needed(None, 100.0).deadline_s(()) == 100.0


def test_who_is_given_up_does_not_shorten_the_next_round() -> None:
    needed = Needed(1.0, 600.0)
    for _ in range(50):
        deadline = needed.deadline_s({"pi"})
        for seconds in (*range(10, 90, 10), 200, 300):  # two in ten are slow
            needed.note("pi", seconds if seconds <= deadline else max(seconds, deadline))
    assert needed.deadline_s({"pi"}) >= 200
