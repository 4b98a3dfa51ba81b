"""The agent against a real SuperLink behind a real gateway, as a process of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.device.membership import Folder
from skerry.security.envelope import Kind
from skerry.security.identity import PassphraseLock, SealedKeyStore
from skerry.security.identity.private_file import read_private

from ._driver import coordinating, identify, opened
from ._fleet import TERMS, Fleet, agent, fleet, said, skerry

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def harbour(tmp_path_factory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("harbour")) as running:
        yield running


def keys(home: Path) -> SealedKeyStore:
    return SealedKeyStore.open(Folder(home).keys, PassphraseLock(read_private(home.parent / "key")))


def test_an_enrolled_device_answers_its_coordinator_and_leaves_when_it_is_told_to(harbour: Fleet, tmp_path: Path):
    home = harbour.enrol("pi-1", TERMS.format(holder="writer-03"))
    with agent(home) as process:
        said(home, "online:")
        with harbour.link.control() as control:
            assert control.online() == 1
        with coordinating(harbour, tmp_path / "app") as grid:
            (node,) = grid.get_node_ids()
            (answer,) = identify(grid, harbour, node)["envelopes"]
        public = keys(home).identity.public
        assert opened(answer, harbour, public, {Kind.IDENTITY}).header.sender == "pi-1"
        second = skerry("run", home=home)
        assert (second.returncode, f"process {process.pid}" in second.stderr) == (3, True)
        process.terminate()
        assert process.wait(20) == 0
    with harbour.link.control() as control:
        assert control.online() == 0  # it has said that it goes: nobody waits for it
    assert "stopped: 0 rounds trained" in (home / "run.log").read_text()


def test_a_device_that_was_not_told_what_it_may_do_does_nothing_and_says_how(harbour: Fleet):
    home = harbour.folder / "pi-2"
    done = skerry("enrol", harbour.invite(), "--name", "pi-2", "--json", home=home)
    assert json.loads(done.stdout)["step"] == "enrolled", done.stderr
    refused = skerry("run", "--json", home=home)
    error = json.loads(refused.stdout)["error"]
    assert (refused.returncode, error["where"]) == (2, str(home / "device.toml"))
    assert "task.name: Field required" in error["what"]
    assert "privacy.unit: Field required" in error["what"]
