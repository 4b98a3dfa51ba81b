"""A simulated fleet is known to be whole only when all of it is on stable storage."""

import os
from pathlib import Path

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.worker import Worker
from skerry.runfolder import RunFolder
from skerry.security.privacy.verification import read_ledger
from skerry.server.provision import device_directory, provision_fleet


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
