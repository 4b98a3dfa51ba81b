"""The registry's file: only grows, is whole whatever happens, and says clearly when it cannot be used."""

import math
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skerry.errors import RegistryError
from skerry.records import Action, Reason, Score, Verdict
from skerry.server.registry import (
    Registry,
)
from skerry.server.registry.tables import SCHEMA

from ._registry import LAB, NOW, accepted, judged, rejected, rows


def path(registry: Registry) -> Path:
    return registry.folder / "registry.sqlite"


@pytest.mark.parametrize("table", ["device", "run", "outcome", "decision"])
@pytest.mark.parametrize("change", ["update {} set rowid = rowid", "delete from {}"])
def test_no_row_can_be_changed_or_deleted(registry: Registry, table: str, change: str) -> None:
    before = rows(registry, table)
    change = change.replace("rowid = rowid", "round = 9") if table == "outcome" else change
    with sqlite3.connect(path(registry)) as base, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        base.execute(change.format(table))
    assert rows(registry, table) == before > 0


@pytest.mark.parametrize(
    ("table", "column", "absent"),
    [
        ("device", "first_seen", ""),
        ("device", "first_seen", "id"),
        ("run", "at", ""),
        ("run", "at", "id"),
        ("outcome", "action", ""),
        ("decision", "why", ""),
        ("decision", "why", "id"),
    ],
)
def test_a_row_that_would_replace_another_leaves_it_as_it_is(
    registry: Registry, table: str, column: str, absent: str
) -> None:
    """SQLite deletes for REPLACE without asking triggers. A key that is ``absent`` makes room for a unique one."""
    with sqlite3.connect(path(registry)) as base:
        names = [one[1] for one in base.execute(f"pragma table_info({table})") if one[1] != absent]
        before = base.execute(f"select * from {table}").fetchall()
        chosen = ", ".join("7" if name == column else name for name in names)
        base.execute(f"insert or replace into {table} ({', '.join(names)}) select {chosen} from {table}")
        assert base.execute(f"select * from {table}").fetchall() == before
        assert before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"not a database at all, but long enough to be looked at" * 40), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40_000), "damaged"),
        (lambda path: path.write_bytes(b""), "not a registry"),
        (lambda path: _sql(path, "pragma user_version = 7"), rf"newer skerry \(schema 7; this one knows {SCHEMA}\)"),
        (lambda path: _sql(path, "pragma application_id = 7"), "not a registry"),
    ],
)
def test_a_registry_that_cannot_be_used_says_so_and_is_left_as_it_is(registry: Registry, spoil, said: str) -> None:
    spoil(path(registry))
    before = path(registry).read_bytes()
    for use in (
        lambda: registry.find("bad"),
        lambda: registry.standings(NOW, 30.0),
        lambda: registry.quarantined(LAB),
        lambda: registry.record(LAB, "run-9", [judged(1, *accepted(1, "good"))]),
    ):
        with pytest.raises(RegistryError, match=said) as error:
            use()
        assert error.value.where == str(path(registry))
        assert error.value.mend
    assert path(registry).read_bytes() == before


def _sql(path: Path, text: str) -> None:
    with sqlite3.connect(path) as base:
        base.execute(text)
    base.close()


def test_a_word_that_this_version_does_not_know_is_told(registry: Registry) -> None:
    with sqlite3.connect(path(registry)) as base:
        base.execute("insert into outcome values (1, 1, 99, 0, 'drop', '[\"telepathy\"]', '[]', 1.0, false)")
    with pytest.raises(RegistryError, match="telepathy"):
        registry.history(registry.find("good") if registry.find("good").id == 1 else registry.find("bad"))


def test_a_failure_within_a_transaction_leaves_nothing_of_it(registry: Registry) -> None:
    before = [rows(registry, table) for table in ("device", "run", "outcome", "decision")]
    unfit = Verdict(2, "new", Action.DROP, (Reason.NORM,), (Score("norm", math.nan, None, None, "No number."),))
    with pytest.raises(ValueError, match="JSON"):
        registry.record(LAB, "run-9", [judged(1, *accepted(1, "new")), judged(2, unfit)])
    assert [rows(registry, table) for table in ("device", "run", "outcome", "decision")] == before


def _write(folder: Path, run: str, go, rounds: int) -> None:
    registry = Registry(folder)
    go.wait()
    for number in range(1, rounds + 1):
        registry.record(LAB, run, [judged(number, *accepted(number, *(f"d{i}" for i in range(8))))])


def test_processes_that_write_at_once_from_the_very_beginning_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    go = context.Event()
    writers = [context.Process(target=_write, args=(tmp_path, f"run-{i}", go, 25)) for i in range(2)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join(180)
        assert writer.exitcode == 0
    registry = Registry(tmp_path)
    assert (rows(registry, "device"), rows(registry, "outcome")) == (8, 2 * 25 * 8)
    assert [one.judged for one in registry.standings(NOW, 30.0)] == [50] * 8
    assert not list(tmp_path.glob(".registry*"))


def test_killed_in_the_middle_every_round_is_whole_or_absent_and_what_was_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    names = [f"d{i:03d}" for i in range(60)]
    chance = random.Random(12)
    acknowledged: list[tuple[str, int]] = []
    for kill in range(8):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                registry = Registry(tmp_path)
                for number in range(1, 10_000):
                    verdicts = [rejected(number, name, Action.QUARANTINE) for name in names]
                    registry.record(LAB, f"run-{kill}", [judged(number, *verdicts)])
                    os.write(into, number.to_bytes(4, "big"))
            finally:
                os._exit(1)
        os.close(into)
        first = os.read(out, 4)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        told = first
        while more := os.read(out, 4096):
            told += more
        os.close(out)
        acknowledged += [(f"run-{kill}", int.from_bytes(told[i : i + 4], "big")) for i in range(0, len(told), 4)]
        with sqlite3.connect(tmp_path / "registry.sqlite") as base:
            assert base.execute("pragma integrity_check").fetchone() == ("ok",)
            counts = base.execute(
                "select r.name, o.round, count(*),"
                " (select count(*) from decision d where d.run = o.run and d.round = o.round)"
                " from outcome o join run r on r.id = o.run group by o.run, o.round"
            ).fetchall()
        base.close()
        assert {(outcomes, decisions) for _, _, outcomes, decisions in counts} == {(60, 60)}
        found = {(run, number) for run, number, *_ in counts}
        assert set(acknowledged) <= found
        assert len(found) <= len(acknowledged) + kill + 1


def test_a_registry_in_a_file_loads_nothing_of_postgresql(tmp_path):
    code = f"""
import sys
from pathlib import Path
from skerry.records import Action, Verdict
from skerry.server.registry import DeviceKind, JudgedRound, Registry, Scope
registry = Registry(Path({str(tmp_path)!r}))
registry.record(Scope(DeviceKind.SIMULATED, "s"), "run", [JudgedRound(1, 1, (Verdict(1, "ann", Action.ACCEPT),))])
assert registry.find("ann").name == "ann"
print(*sorted(name for name in sys.modules if "dialects.postgresql" in name or "psycopg" in name))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
