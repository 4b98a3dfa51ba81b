"""The private parts of Flower by which this process drives a run, against a real SuperLink; see also the scenarios."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from skerry.errors import RunFailedError
from skerry.server.engines import flwr_grid
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.engine import Components
from skerry.server.engines.flwr_adapter import COORDINATOR_NODE
from skerry.server.engines.flwr_run import driven_run
from skerry.server.engines.processes import Children

pytestmark = [pytest.mark.engine]
SECRET = bytes(range(32))


class Served:
    def __init__(self, folder: Path, children: Children) -> None:
        private, logs = folder / "private", folder / "logs"
        private.mkdir(mode=0o700)
        logs.mkdir()
        self.link = Deployment(private, logs, children, secret=SECRET)
        self.link.start([])
        self.app = write_bundle(private / "app", Components())

    def claimed(self, secret: bytes = SECRET):
        return driven_run(self.link.address, self.link.authority.read_bytes(), secret, self.app, largest=1 << 20)

    def status(self, number: int):
        with self.link.control() as control:
            return control.status(number)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Children() as children:
        yield Served(tmp_path_factory.mktemp("superlink"), children)


def test_whoever_knows_the_secret_conducts_a_run_and_it_ends_completed(served: Served) -> None:
    with served.claimed() as (grid, number):
        assert grid.get_node_ids() == []
        assert grid.run.run_id == number
        message = Message(RecordDict({"a": ConfigRecord({"b": 1})}), 7, "train")
        assert (message.metadata.run_id, message.metadata.src_node_id) == (number, COORDINATOR_NODE)
        assert grid.push_messages([]) == []
        assert grid.pull_messages([]) == []
        assert not served.status(number).finished
    assert served.status(number).completed


def test_nobody_else_does(served: Served) -> None:
    with pytest.raises(RunFailedError, match="SuperLink"), served.claimed(bytes(32)):
        pytest.fail("a run without the secret")


def test_runs_that_coordinators_left_under_way_are_ended_by_the_next_one(served: Served) -> None:
    with served.link.control() as control:
        unclaimed = control.start(served.app, {})
    with served.claimed() as (forsaken, left):
        assert forsaken.get_node_ids() == []
        with served.claimed() as (grid, number):
            found = [served.status(one) for one in (unclaimed, left)]
            assert [(one.finished, one.completed) for one in found] == [(True, False)] * 2
            assert not served.status(number).finished
            assert grid.get_node_ids() == []
            with pytest.raises(RunFailedError, match="SuperLink"):
                forsaken.get_node_ids()


def test_a_run_that_fails_says_so_to_the_superlink(served: Served) -> None:
    with pytest.raises(ZeroDivisionError), served.claimed() as (_, number):
        1 / 0  # noqa: B018 - whatever happens in the block
    status = served.status(number)
    assert (status.finished, status.completed) == (True, False)


def test_a_superlink_that_is_gone_or_knows_the_run_no_more_is_an_error_and_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flwr_grid, "_PATIENCE_S", 1.0)
    with Children() as children:
        served = Served(tmp_path, children)
        with served.claimed() as (grid, _):
            children.stop()
            with pytest.raises(RunFailedError, match="does not do as asked"):
                grid.get_node_ids()
