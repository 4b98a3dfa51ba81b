"""``skerry top`` shows in the terminal what is in the folder of runs, and follows it."""

import asyncio
import json

import pytest
from textual.widgets import DataTable, Static, TabbedContent

from skerry.cli.top_view import TopView
from skerry.clock import system_clock
from skerry.server.console import Overview
from skerry.server.pausing import Pause, pause
from skerry.server.registry import Registry
from tests.sample_run import build
from tests.server._federation import Agent, Federation


@pytest.fixture
def runs(tmp_path):
    federation = Federation(tmp_path)
    for name in ("heron", "tern"):
        federation.enrol(Agent(name))
    yield tmp_path
    federation.devices.close()


def _rows(app: TopView, name: str) -> list[list[str]]:
    table = app.query_one(f"#table-{name}", DataTable)
    return [[str(cell) for cell in table.get_row(key)] for key in table.rows]


async def _until(pilot, holds) -> None:
    for _ in range(3600):
        await pilot.pause(0.05)
        if holds():
            return
    raise AssertionError("it is never shown")


def test_rounds_spending_devices_and_verdicts_are_shown_and_what_changes_with_them(runs):
    folder = build(runs, ("rounds=20",), state="running", rounds_done=4)
    last = folder.rounds()[-1]

    async def watched() -> None:
        app = TopView(Overview(runs, system_clock).look, every_s=0.1)
        async with app.run_test(size=(140, 50)) as pilot:
            await _until(pilot, lambda: len(_rows(app, "rounds")) == 4)
            told = str(app.query_one("#run", Static).render())
            assert f"accuracy {100 * last.accuracy:.1f} %" in told
            assert "δ = 1e-5, example level, add/remove" in told
            assert _rows(app, "rounds")[0][0] == "4"
            assert {row[0]: row[1] for row in _rows(app, "devices")}["heron"] == "idle"
            assert any("cosine" in row[3] for row in _rows(app, "verdicts"))
            registry = Registry(runs)
            registry.quarantine(registry.find("heron"), by="ann", why="stolen", now=system_clock())
            await _until(pilot, lambda: _rows(app, "devices")[0][:2] == ["heron", "quarantined"])
            assert _rows(app, "devices")[0][-1] == "by ann: stolen"
            pause(folder, Pause("ann", "heat wave", system_clock()))
            await _until(pilot, lambda: "paused by ann: heat wave" in str(app.query_one("#run", Static).render()))
            await pilot.press("v")
            assert app.query_one(TabbedContent).active == "verdicts"
            await pilot.press("q")
        assert app.return_code == 0

    asyncio.run(watched())


def test_a_simulated_device_is_not_taken_for_the_enrolled_one_of_its_name(tmp_path):
    federation = Federation(tmp_path)
    folder = build(tmp_path, ("rounds=20",), state="running", rounds_done=4)
    look = Overview(tmp_path, system_clock).look
    name = next(one["device"] for key, one in look().items() if key.startswith(f"budget/{folder.id}/"))
    federation.enrol(Agent(name))
    registry = Registry(tmp_path)
    (real,) = [one for one in look().values() if one.get("name") == name and not one["simulated"]]
    registry.quarantine(registry.find(name, real["scope"]), by="ann", why="stolen", now=system_clock())

    async def watched() -> None:
        app = TopView(look, every_s=0.1)
        async with app.run_test(size=(140, 50)) as pilot:
            await _until(pilot, lambda: len([row for row in _rows(app, "devices") if row[0] == name]) == 2)
            first, second = (row for row in _rows(app, "devices") if row[0] == name)
            assert first[1:4] == ["quarantined", "harbour", "–"]  # the run asked it for nothing
            assert second[1:3] == ["idle", "digits/digits (simulated)"]
            assert " of " in second[3]
            await pilot.press("q")

    asyncio.run(watched())
    federation.devices.close()


def test_as_json_all_facts_are_told_once(runs, skerry):
    folder = build(runs, ("rounds=3",), state="running", rounds_done=2)
    document = json.loads(skerry("top", "--runs-dir", str(runs), "--json").stdout)
    assert document["facts"][f"run/{folder.id}"]["done"] == 2
    assert document["facts"]["device/real/harbour/heron"]["state"] == "idle"


def test_a_folder_that_is_not_there_is_bad_input(tmp_path, skerry):
    assert skerry("top", "--runs-dir", str(tmp_path / "none"), "--json").exit_code == 2


def test_without_a_terminal_no_view_is_drawn_and_the_way_to_the_facts_is_named(skerry, tmp_path):
    told = skerry("top", "--runs-dir", str(tmp_path))
    assert told.exit_code == 2
    assert "\x1b" not in told.output
    assert "--json" in told.stderr


def test_a_pace_that_is_no_number_is_refused(skerry, tmp_path):
    assert skerry("top", "--runs-dir", str(tmp_path), "--every", "nan", "--json").exit_code == 2
