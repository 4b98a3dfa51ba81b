"""The agent against a real SuperLink behind a real gateway, as a process of its own."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp import Grid

from skerry.device.agent.checkpoint import FILE as CHECKPOINT
from skerry.device.agent.enrolled import LEDGER, agent_folder, check_data, device_home
from skerry.device.agent.leaving import forget_device
from skerry.device.agent.report import owner_report
from skerry.device.agent.terms import read_terms
from skerry.device.agent.watch import pause
from skerry.device.membership import Folder
from skerry.device.worker import process_worker
from skerry.errors import InputError, RefusedError
from skerry.security.envelope import Kind
from skerry.security.identity import PassphraseLock, SealedKeyStore
from skerry.security.identity.private_file import read_private
from skerry.security.privacy.verification import read_ledger

from ._driver import Desk, asked, coordinating, identify, opened
from ._fleet import Fleet, agent, fleet, said, skerry, terms
from ._wire import Wire

pytestmark = pytest.mark.engine
LONG: dict[str, Any] = {"epochs": 100, "sampling_rate": 0.01}
"""Of an instruction: ten thousand private steps, which take some seconds."""


@pytest.fixture(scope="module")
def harbour(tmp_path_factory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("harbour")) as running:
        yield running


@dataclass
class Pi:
    """An agent that several tests ask, started as systemd starts it; it says every millisecond that it gets on."""

    home: Path
    ear: socket.socket
    first_word: bytes

    def heard(self) -> int:
        """So many characters the owner was told by now."""
        return len((self.home / "run.log").read_text())


@pytest.fixture(scope="module")
def pi(harbour: Fleet, tmp_path_factory) -> Iterator[Pi]:
    home, path = harbour.enrol("pi-3"), str(tmp_path_factory.mktemp("systemd") / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(180)
        with agent(home, NOTIFY_SOCKET=path, WATCHDOG_USEC="4000"):
            yield Pi(home, ear, ear.recv(100))


def keys(home: Path) -> SealedKeyStore:
    return SealedKeyStore.open(Folder(home).keys, PassphraseLock(read_private(home.parent / "key")))


def debits(home: Path) -> int:
    return read_ledger(home / LEDGER).debits


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def online(home: Path, grid: Grid) -> int:
    """The node of this device, once it is in touch."""
    said(home, "online:")
    node = int((agent_folder(home) / "node").read_text())
    assert node in grid.get_node_ids()
    return node


def test_an_enrolled_device_answers_its_coordinator_and_leaves_when_it_is_told_to(harbour: Fleet, tmp_path: Path):
    home = harbour.folder / "pi-1"
    (tmp_path / "terms.toml").write_text(terms("writer-04"))
    given = ("--name", "pi-1", "--terms", tmp_path / "terms.toml")
    assert skerry("enrol", harbour.invite(), *given, home=home).exit_code == 0
    with agent(home) as process:
        said(home, "online:")
        with harbour.link.control() as control:
            assert control.online() == 1
        with coordinating(harbour, tmp_path / "app") as grid:
            node = online(home, grid)
            (answer,) = identify(grid, harbour, node)["envelopes"]
        public = keys(home).identity.public
        assert opened(answer, harbour, public, {Kind.IDENTITY}).header.sender == "pi-1"
        second = skerry("run", home=home)
        assert (second.exit_code, f"process {process.pid}" in second.stderr) == (3, True)
        process.terminate()
        assert process.wait(180) == 0
    assert "stopped: 0 rounds trained" in (home / "run.log").read_text()


def test_a_device_that_was_not_told_what_it_may_do_does_nothing_and_says_how(harbour: Fleet):
    home = harbour.folder / "pi-2"
    done = skerry("enrol", harbour.invite(), "--name", "pi-2", "--json", home=home)
    assert json.loads(done.stdout)["step"] == "enrolled", done.stderr
    refused = skerry("run", "--json", home=home)
    error = json.loads(refused.stdout)["error"]
    assert (refused.exit_code, error["where"]) == (2, str(home / "device.toml"))
    assert "task.name: Field required" in error["what"]
    assert "privacy.unit: Field required" in error["what"]


def test_a_round_is_trained_on_the_owner_s_data_and_its_price_is_told(
    harbour: Fleet, pi: Pi, tmp_path: Path, prepared_run
):
    home = pi.home
    desk = Desk(harbour, prepared_run, keys(home).identity.public)
    before = debits(home)
    with coordinating(harbour, tmp_path / "app") as grid:
        node = online(home, grid)
        with asked(grid, node, desk.instruct(1)) as answers:
            pass
        assert desk.read(answers[0]).header.kind is Kind.UPDATE
        with asked(grid, node, desk.instruct(2, model="0" * 64)) as answers:
            pass
        assert desk.read(answers[0]).payload == b"unknown_model"
        told = json.loads(skerry("status", "--json", home=home).stdout)
        privacy = told["privacy"]
        assert (privacy["rounds"], privacy["unit"], privacy["delta"]) == (before + 1, "example", 1e-5)
        assert 0 < privacy["epsilon"] < 0.5
        assert privacy["left"] == pytest.approx(8 - privacy["epsilon"])
        assert [one["reason"] for one in told["refusals"]] == ["unknown_model"]
        assert told["agent"] > 0
        with pytest.raises(RefusedError, match="runs with this home"):
            forget_device(home)


def test_killed_while_it_computes_it_goes_on_after_its_restart_and_pays_once(
    harbour: Fleet, tmp_path: Path, prepared_run
):
    home = harbour.enrol("pi-4")
    desk = Desk(harbour, prepared_run, keys(home).identity.public)
    with coordinating(harbour, tmp_path / "app") as grid:
        with agent(home) as process:
            node = online(home, grid)
            with asked(grid, node, desk.instruct(1, **LONG)) as answers:
                until(lambda: debits(home) == 1)
                process.kill()
                process.wait(180)
                assert process.returncode == -9
                with agent(home):
                    said(home, "trained:")
        assert desk.read(answers[0]).header.kind is Kind.UPDATE
    assert debits(home) == 1
    done = json.loads(skerry("forget", "--yes", "--json", home=home).stdout)  # it took part, and its agent has ended
    assert done["kept"] == ["ledger.jsonl", "ledger.answer.cbor"]
    assert {path.name for path in home.iterdir()} == {*done["kept"], "device.toml", "run.log"}


def test_paused_by_its_owner_it_stops_at_once_and_ends_the_same_work_later(
    harbour: Fleet, tmp_path: Path, prepared_run
):
    home = harbour.enrol("pi-5")
    desk = Desk(harbour, prepared_run, keys(home).identity.public)
    with agent(home), coordinating(harbour, tmp_path / "app") as grid:
        node = online(home, grid)
        with asked(grid, node, desk.instruct(1, **LONG)) as answers:
            until(lambda: debits(home) == 1)
            pause(home)
            assert "trained:" not in said(home, "paused:")
            assert node in grid.get_node_ids()  # or its answer would not count any more
            assert owner_report(home).paused
            assert (agent_folder(home) / CHECKPOINT).stat().st_mode & 0o777 == 0o600
            assert skerry("pause", "--resume", home=home).exit_code == 0
            said(home, "trained:")
        assert desk.read(answers[0]).header.kind is Kind.UPDATE
    assert not (agent_folder(home) / CHECKPOINT).exists()
    assert debits(home) == 1


def test_systemd_hears_that_it_is_ready_and_that_its_training_gets_on(
    harbour: Fleet, pi: Pi, tmp_path: Path, prepared_run
):
    assert pi.first_word == b"READY=1"
    desk = Desk(harbour, prepared_run, keys(pi.home).identity.public)
    before, since = debits(pi.home), pi.heard()
    with coordinating(harbour, tmp_path / "app") as grid:
        node = online(pi.home, grid)
        with asked(grid, node, desk.instruct(1, **LONG)):
            until(lambda: debits(pi.home) == before + 1)
            pi.ear.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while pi.ear.recv(100):  # until here it may have been the loop
                    pass
            pi.ear.settimeout(180)
            assert [pi.ear.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
            assert "trained:" not in (pi.home / "run.log").read_text()[since:]


def test_its_doctor_finds_nothing_in_the_way_and_says_which_gateway_it_believed(harbour: Fleet):
    home = harbour.enrol("pi-8")
    home.chmod(0o700)
    done = skerry("doctor", "--json", home=home)
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    found = {one["name"]: one for one in told["findings"]}
    assert {one["state"] for name, one in found.items() if name not in {"memory", "heat"}} == {"ok"}
    assert "under the root that was pinned" in found["gateway"]["found"]
    assert found["clock"]["found"].endswith("the gateway's")
    assert told["lapses"] == []
    assert "head" in told["capability"]["trainable"]


def test_it_outlives_a_lost_network_and_is_there_again_when_it_is_back(harbour: Fleet, tmp_path: Path):
    with Wire(harbour.gateway.port) as wire:
        home = harbour.enrol("pi-6", address=f"https://127.0.0.1:{wire.port}")
        with agent(home) as process, coordinating(harbour, tmp_path / "app") as grid:
            node = online(home, grid)
            wire.cut()
            said(home, "lost_contact:")
            wire.mend()
            (answer,) = identify(grid, harbour, node)["envelopes"]
            public = keys(home).identity.public
            assert opened(answer, harbour, public, {Kind.IDENTITY}).header.sender == "pi-6"
            wire.cut()
            said(home, "lost_contact:", times=2)
            process.terminate()
            assert process.wait(180) == 0


def test_data_that_the_task_does_not_have_are_told_at_the_start(tmp_path: Path, prepared_run):
    scenario = prepared_run.scenario
    (tmp_path / "device.toml").write_text(terms("writer-4", scenario))
    home = device_home(tmp_path, "pi-7", read_terms(tmp_path))
    with pytest.raises(InputError) as refused:
        check_data(home, process_worker().task(scenario.task, scenario.model))
    assert refused.value.where == f"{tmp_path / 'device.toml'}: task.holder"
    assert refused.value.mend == "did you mean 'writer-04'?"


def test_the_device_s_own_pictures_are_enough(tmp_path: Path):
    from PIL import Image

    for label in ("cat", "dog"):
        place = tmp_path / "pictures" / "pi-8" / label
        place.mkdir(parents=True)
        if label == "cat":
            Image.new("RGB", (8, 8)).save(place / "1.png")
    (tmp_path / "device.toml").write_text(
        '[task]\nname = "image-folder"\nroot = "pictures"\n[privacy]\nunit = "none"\n'
    )
    home = device_home(tmp_path, "pi-8", read_terms(tmp_path))
    task = process_worker().task(home.task, home.model)
    check_data(home, task)
    assert task.classes == ("cat", "dog")
    assert task.local_data("pi-8").y.tolist() == [0]
