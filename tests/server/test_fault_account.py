"""What the benchmark ``faults`` judges by: whatever must not happen is seen when it does, and nothing else is."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from skerry.device.protocol import Update
from skerry.device.worker import process_worker
from skerry.fsio import write_atomic
from skerry.records import Float32Array, RoundRecord
from skerry.runfolder import RunFolder
from skerry.security.privacy import GaussianEvent, Ledger, Policy
from skerry.security.privacy.chain import GENESIS, entry
from skerry.security.privacy.verification import read_entries
from skerry.server.checkpoint import vector_digest
from skerry.server.rounds import server_optimizer
from skerry.strategies import parse_rule

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("pi-1", "pi-2")
ROUNDS = (1, 2, 3)


@pytest.fixture
def accounting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _fault_account

    return _fault_account


class Told:
    """Three rounds of two devices, as ledgers, answers and records tell of them."""

    def __init__(self, accounting: ModuleType, folder: RunFolder, path: Path) -> None:
        self.accounting, self.folder = accounting, folder
        worker, scenario = process_worker(), folder.scenario
        base = json.loads((folder.path / "model" / "base.json").read_bytes())["digest"]
        self.vector = worker.model(scenario.model, base, worker.task(scenario.task, scenario.model)).initial()
        self.devices = {name: self._device(path / f"{name}.jsonl", seed) for seed, name in enumerate(NAMES)}
        self.moves: dict[int, list[list[Float32Array]]] = {number: [self.rows(number)] for number in ROUNDS}

    def _device(self, path: Path, seed: int):
        policy = Policy(unit="example", epsilon=1000.0, delta=1e-5, simulated=False)
        made = self.accounting.Device()
        random = np.random.default_rng(seed)
        with Ledger.create(path, scope="device", subject=path.stem, policy=policy, now=0) as ledger:
            for number in ROUNDS:
                debit = ledger.debit(self.folder.id, number, GaussianEvent(10.0), nonce=f"{number:02}", now=number)
                delta = random.normal(size=self.vector.size).astype(np.float32)
                update = Update(delta, "", debit.hash, debit.seq + 1, "00" * 32)
                made.updates[number] = {update.to_bytes(): update}
        made.entries = {entry.hash: entry for entry in read_entries(path)[0] if entry.kind == "debit"}
        return made

    def row(self, name: str, number: int) -> Float32Array:
        (update,) = self.devices[name].updates[number].values()
        return update.delta

    def rows(self, number: int) -> list[Float32Array]:
        return [self.row(name, number) for name in NAMES]

    def receipts(self, used: dict[int, dict[str, int]]):
        """The account of a population's ledger in which rounds use the devices' answers of these rounds."""
        told = [("member", {"device": name}) for name in NAMES]
        for number, answers in used.items():
            leaves = {
                str(NAMES.index(name)): {"leaf": next(iter(self.devices[name].updates[of].values())).ledger_head}
                for name, of in answers.items()
            }
            told += [("receipts", {"round": number, "receipts": leaves}), ("release", {"round": number})]
        found = self.accounting.Account([], self.devices)
        entries = [entry(seq, GENESIS, kind, seq, body) for seq, (kind, body) in enumerate(told)]
        self.accounting._receipts(found, entries)
        return found

    def found(self):
        """The account of vectors that were made by these moves."""
        optimizer = server_optimizer(self.folder.scenario.training)
        vector, moments = self.vector, optimizer.start(self.vector.size)
        records = []
        for number, moves in self.moves.items():
            for rows in moves:
                vector, moments = optimizer(vector, parse_rule("mean", tolerate=0, seed=0)(np.stack(rows)), moments)
            records.append(
                RoundRecord(number, 0.0, 0.0, None, None, NAMES, (), {}, 0, 0, {}, vector_digest(vector), number)
            )
        found = self.accounting.Account(records, self.devices)
        for name, device in self.devices.items():
            found.undercounts += [f"{name}: {what}" for what in device.undercounts(self.folder.id)]
        self.accounting._vectors(found, self.folder)
        return found


@pytest.fixture
def told(accounting: ModuleType, prepared_run: RunFolder, tmp_path: Path) -> Told:
    return Told(accounting, prepared_run, tmp_path)


def bad(found) -> dict[str, int]:
    kinds = ("undercounts", "twice", "stale", "unexplained")
    return {kind: len(getattr(found, kind)) for kind in kinds if getattr(found, kind)}


def test_what_was_done_as_it_should_be_is_found_to_be_so(told: Told):
    assert bad(told.found()) == {}


def test_an_answer_that_counts_twice_is_seen(told: Told):
    told.moves[2][0].append(told.row("pi-1", 2))
    assert bad(told.found()) == {"twice": 1}


def test_a_round_that_is_applied_again_is_seen(told: Told):
    told.moves[3] *= 2
    assert bad(told.found()) == {"twice": 1}


def test_an_answer_of_an_earlier_round_is_seen(told: Told):
    told.moves[3][0][1] = told.row("pi-2", 1)
    assert bad(told.found()) == {"stale": 1}


def test_a_vector_that_no_answers_lead_to_is_seen(told: Told):
    told.moves[2][0][0] = told.row("pi-1", 2) + np.float32(1)
    assert bad(told.found()) == {"unexplained": 1}


def test_an_answer_without_its_debit_and_two_under_one_are_seen(told: Told):
    device = told.devices["pi-1"]
    update = next(iter(device.updates[2].values()))
    del device.entries[update.ledger_head]
    assert bad(told.found()) == {"undercounts": 1}
    second = next(iter(device.updates[3].values()))
    other = Update(second.delta * 2, "", second.ledger_head, second.ledger_size, second.ledger_root)
    device.updates[3] = {other.to_bytes(): other} | device.updates[3]
    assert bad(told.found()) == {"undercounts": 2}


def test_receipts_that_are_of_another_round_or_come_again_are_seen(told: Told):
    honest = {number: dict.fromkeys(NAMES, number) for number in ROUNDS}
    assert bad(told.receipts(honest)) == {}
    assert bad(told.receipts({1: {"pi-1": 1}, 3: {"pi-1": 2}})) == {"stale": 1}
    assert bad(told.receipts({1: {"pi-1": 1}, 2: {"pi-1": 1}})) == {"twice": 1, "stale": 1}


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):  # a line that is cut resets it
                while data := connection.recv(100):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.close()


def test_a_line_breaks_as_it_is_told_and_is_whole_again(monkeypatch: pytest.MonkeyPatch, echo: int):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from _faulty_line import FaultyLine

    def connected(line: FaultyLine) -> socket.socket:
        return socket.create_connection(("127.0.0.1", line.port), timeout=0.5)

    with FaultyLine(echo) as line:
        with connected(line) as device:
            device.sendall(b"one")
            assert device.recv(100) == b"one"
            line.break_it("silent")
            assert line.met == 0  # nobody has used it since
            device.sendall(b"two")
            with pytest.raises(TimeoutError):
                device.recv(100)
            assert line.met == 1
            line.mend()
            assert device.recv(100) == b"two"
            line.break_it("closed")
            with pytest.raises(ConnectionError):
                device.recv(100)
            assert line.met == 2
        line.mend()
        with connected(line) as device:
            line.break_it("mute")
            device.sendall(b"three")
            with pytest.raises(TimeoutError):
                device.recv(100)
            assert line.met == 3
            line.mend()
        with connected(line) as device:
            line.break_it("slow")
            assert line.met == 3
            device.sendall(b"four")
            assert device.recv(100) == b"four"
            assert line.met > 3


class Unused:
    """A line that nobody uses while it is broken, and then somebody."""

    def __init__(self, uses: list[int]) -> None:
        self._uses, self.met, self.broken = uses, 0, []

    def break_it(self, mode: str) -> None:
        self.broken.append(mode)
        self.met += self._uses.pop(0)

    def mend(self) -> None:
        self.broken.append("whole")


def test_a_broken_line_counts_where_somebody_met_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _fault_kinds

    clock = iter(range(1_000_000))
    monkeypatch.setattr(_fault_kinds, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    uses = {"pi-1": [0, 1], "pi-2": [0, 0]}
    places = {name: SimpleNamespace(name=name, line=Unused(some)) for name, some in uses.items()}
    always_all = SimpleNamespace(choice=lambda some: some[0], random=lambda: 1.0, uniform=lambda low, _: low)
    faults = _fault_kinds.Faults(SimpleNamespace(places=places, complete=False), always_all)
    assert faults.line_broken() == []
    assert not faults.told
    assert [place.name for place in faults.line_broken()] == ["pi-1"]
    assert sum(faults.told.values()) == 1
    assert {place.line.broken[-1] for place in places.values()} == {"whole"}


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long syncs were made to take, which they do not take here."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _power

    took: list[float] = []
    monkeypatch.setattr(_power, "time", SimpleNamespace(sleep=took.append))
    monkeypatch.setattr(os, "fsync", os.fsync)  # put back afterwards
    return took


def test_a_power_cut_takes_what_was_not_synced(syncs: list[float], tmp_path: Path):
    from _power import Lost, lose_power, record_syncs

    home, record = tmp_path / "home", tmp_path / "record"
    home.mkdir()
    path = home / "ledger.jsonl"
    record_syncs(home, record)
    with path.open("ab", buffering=0) as ledger:
        ledger.write(b"kept\n")
        os.fsync(ledger.fileno())
        ledger.write(b"lost\n")
    write_atomic(home / "agent" / "letter.cbor", b"kept")
    write_atomic(home / "agent" / "diary.json", b"gone", durable=False)
    assert lose_power(home, record) == Lost(ledger=len(b"lost\n"), files=len(b"gone"))
    assert path.read_bytes() == b"kept\n"
    assert [path.name for path in (home / "agent").iterdir()] == ["letter.cbor"]
    assert lose_power(home, record) == Lost(0, 0)
    assert min(syncs) >= 0.05


def test_a_power_cut_takes_what_an_agent_added_to_a_ledger_that_it_found(syncs: list[float], tmp_path: Path):
    from _power import Lost, lose_power, record_syncs

    home, record = tmp_path / "home", tmp_path / "record"
    home.mkdir()
    path = home / "ledger.jsonl"
    path.write_bytes(b"policy\n")
    record_syncs(home, record)
    with path.open("ab", buffering=0) as ledger:
        ledger.write(b"debit\n")
    record_syncs(home, record)  # killed and started again: the disk has no more of it than before
    assert lose_power(home, record) == Lost(ledger=len(b"debit\n"), files=0)
    assert path.read_bytes() == b"policy\n"


def claims_of(monkeypatch: pytest.MonkeyPatch, rounds: list[RoundRecord], touched: dict[str, int]) -> dict[str, bool]:
    """Which claims of the benchmark hold for a run with those rounds."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from _fault_account import Account, Device
    from faults import Asked, _claims

    found = Account(rounds, {name: Device() for name in NAMES})
    asked = Asked(len(rounds), 1, len(NAMES), 1, (), None)
    claims = _claims(asked, found, [], 0.0, {"faults": {"agent_killed": 1}}, touched)
    return {claim.id: claim.holds for claim in claims}


def finished(number: int, accepted: tuple[str, ...], **extra: str) -> RoundRecord:
    dropped = {name: "silent" for name in NAMES if name not in accepted}
    return RoundRecord(number, 0.0, 0.0, None, None, accepted, (), dropped, 0, 0, {}, "d", number, extra=extra)


def test_a_federation_in_which_nobody_takes_part_outlives_nothing(monkeypatch: pytest.MonkeyPatch):
    touched = dict.fromkeys(NAMES, 1)
    good = claims_of(monkeypatch, [finished(1, NAMES), finished(2, NAMES)], touched)
    assert all(good.values()), good
    empty = claims_of(monkeypatch, [finished(1, (), skipped="few"), finished(2, (), skipped="few")], touched)
    assert {name for name, holds in empty.items() if not holds} == {"rounds_finished", "places_taken", "devices_back"}
    away = claims_of(monkeypatch, [finished(1, NAMES), *(finished(number, NAMES[:1]) for number in (2, 3))], touched)
    assert (away["rounds_finished"], away["devices_back"]) == (True, False)


def test_a_kind_of_fault_that_there_is_not_is_refused_before_anything_is_done():
    command = [sys.executable, BENCHMARKS / "faults.py", "--kinds", "agent_kiled"]
    inside = {**os.environ, "SKERRY_FAULTS_MOUNTS": "1"}  # it mounts nothing
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=inside)
    assert done.returncode == 2
    assert "agent_killed" in done.stderr
