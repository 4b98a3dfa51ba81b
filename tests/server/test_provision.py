"""A simulated fleet is known to be whole only when all of it is on stable storage."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.state import DeviceHome
from skerry.device.worker import Worker
from skerry.errors import DiskFullError, InputError
from skerry.runfolder import RunFolder
from skerry.security.privacy.verification import read_ledger
from skerry.server.provision import coordinator_public, device_directory, provision_fleet


def test_the_sign_that_a_fleet_is_whole_comes_after_everything_else_is_on_stable_storage(
    tmp_path: Path, monkeypatch
) -> None:
    scenario = default_scenario()
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    worker = Worker()
    task = worker.task(scenario.task, scenario.model)
    contents = {device: worker.identity_of(device, task) for device in task.devices()}
    sign = folder.path / "fleet" / "coordinator.json"
    synced: set[int] = set()
    late: list[Path] = []
    fsync, replace = os.fsync, Path.replace

    def noted(fd: int) -> None:
        fsync(fd)
        if not sign.exists():
            synced.add(os.fstat(fd).st_ino)

    def named(self: Path, target: Path) -> Path:
        if Path(target) == sign:
            found = [path for half in ("fleet", "ledger") for path in (folder.path / half).rglob("*") if path != self]
            late.extend(path for path in (folder.path, *found) if path.stat().st_ino not in synced)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", named)
    provision_fleet(folder, scenario, task, contents, now=system_clock())
    assert sign.exists()
    assert late == []


def test_each_device_has_a_ledger_that_holds_its_policy_and_nothing_else(tmp_path: Path) -> None:
    scenario = default_scenario()
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    worker = Worker()
    task = worker.task(scenario.task, scenario.model)
    provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())
    for device in task.devices():
        account = read_ledger(folder.path / "ledger" / "devices" / f"{device}.jsonl")
        assert (account.policy.unit, account.policy.epsilon) == ("example", scenario.privacy.epsilon)
        assert account.policy.data.endswith(f"/{device}")
        assert account.spending.epsilon(account.policy.delta) == 0
    assert set(device_directory(folder)) == set(task.devices())


@pytest.mark.parametrize("linked", [True, False])
def test_every_device_trusts_the_coordinator_also_where_a_file_cannot_have_another_name(
    tmp_path: Path, monkeypatch, linked: bool
) -> None:
    def refused(_file: Path, _name: Path) -> None:
        raise OSError(errno.EMLINK, "too many links")

    if not linked:
        monkeypatch.setattr(os, "link", refused)
    scenario = default_scenario()
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    worker = Worker()
    task = worker.task(scenario.task, scenario.model)
    provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())
    residents = [Worker().resident(folder.path / "fleet" / device) for device in task.devices()]
    assert {one.coordinator for one in residents} == {coordinator_public(folder)}
    assert all(tuple(one.directory) == (coordinator_public(folder).name,) for one in residents)
    said = {(one.home.path / "trust.json").stat().st_ino for one in residents}
    assert len(said) == (1 if linked else len(residents))


def test_devices_of_two_fleets_trust_each_their_own_coordinator_in_one_process(tmp_path: Path) -> None:
    scenario, worker = default_scenario(), Worker()
    task = worker.task(scenario.task, scenario.model)
    for _ in range(2):
        folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
        provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())
        for device in task.devices():
            resident = worker.resident(folder.path / "fleet" / device)
            assert resident.coordinator == resident.directory.get("coordinator") == coordinator_public(folder)


def test_only_a_device_that_the_simulation_made_so_is_hostile(tmp_path: Path) -> None:
    scenario = default_scenario(["attack.devices=2", "attack.kind=sign_flip"])
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    task = Worker().task(scenario.task, scenario.model)
    provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())
    homes = [folder.path / "fleet" / device for device in task.devices()]
    hostile = [home for home in homes if DeviceHome.is_hostile(home)]
    assert len(hostile) == 2
    assert hostile == [home for home in homes if DeviceHome.load(home).hostile is not None]
    with pytest.raises(InputError, match="not a device's home"):
        DeviceHome.is_hostile(tmp_path)


@pytest.mark.parametrize("name", ["fleet", "devices", "writer-05"])
def test_a_fleet_for_whose_folders_there_is_no_room_is_told(tmp_path: Path, monkeypatch, name: str) -> None:
    scenario = default_scenario()
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    worker, real = Worker(), Path.mkdir
    task = worker.task(scenario.task, scenario.model)

    def full(path: Path, *given: Any, **named: Any) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "no space left on device", str(path))
        real(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFullError):
        provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())


def test_where_a_file_has_one_name_only_every_home_has_a_copy_of_whom_it_trusts(tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr("skerry.server.provision.os.link", refused)
    scenario = default_scenario()
    folder = RunFolder.create(tmp_path, scenario, engine="inprocess")
    task = Worker().task(scenario.task, scenario.model)
    provision_fleet(folder, scenario, task, dict.fromkeys(task.devices(), ""), now=system_clock())
    fleet = folder.path / "fleet"
    trusted = (fleet / "coordinator.public.json").read_bytes()
    assert {(fleet / device / "trust.json").read_bytes() for device in task.devices()} == {trusted}
