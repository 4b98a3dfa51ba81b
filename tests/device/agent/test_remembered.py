"""A device knows which node it was, also after a power cut."""

import os
from pathlib import Path

import pytest

from skerry.device.agent.remembered import RememberedNode


def test_a_node_that_is_remembered_is_on_stable_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, synced, sync = tmp_path / "node", [], os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    RememberedNode(path).write(7)
    assert RememberedNode(path).read() == 7
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]
