"""What tests of the agent share."""

from pathlib import Path

import pytest

from skerry.device.agent import lookout as lookout_module
from tests.device.agent._world import World, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(lookout_module, "INTERVAL_S", 0.005)  # the watch looks often, so that no test waits for it
    return make_world(tmp_path)
