"""The ray engine over a cluster that is there: two nodes of this machine, each with daemons of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from skerry.config import default_scenario
from skerry.errors import InputError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.server.engines import Components, get_engine
from skerry.server.engines.ports import free_ports
from skerry.server.engines.ray import ADDRESS_VARIABLE, RayEngine
from skerry.server.launch import launch

FEW = Path(__file__).parents[2] / "scenarios"
OVERRIDES = (
    "task.name=few_writers:FewWriters",
    "rounds=2",
    "seed=11",
    "attack.devices=0",
    "defence.aggregator=mean",
    "defence.tolerate=0",
    "report.references=false",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, one processor each, with object stores, schedulers and workers of their own."""
    utilities = pytest.importorskip("ray.cluster_utils")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    made = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()
        for process in psutil.Process().children(recursive=True):
            if process.pid not in before:
                process.kill()


def vector(folder: RunFolder) -> np.ndarray:
    return load_file(folder.path / "checkpoint" / "round.safetensors")["vector"]


@pytest.mark.parametrize("address", ["cluster", "10.0.0.1", "10.0.0.1:6379:1", "ray://10.0.0.1:10001", "a b:1"])
def test_what_is_no_address_is_refused_before_anything_begins(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    with pytest.raises(InputError, match="no address of a Ray cluster"):
        get_engine("ray")


@pytest.mark.engine
@pytest.mark.slow
def test_devices_answer_from_both_nodes_and_the_cluster_stays(
    echo: Components, make_run: Any, seen: Any, cluster: Any
) -> None:
    folder = make_run(6, rounds=2, do="sleep", seconds=0.5)
    RayEngine(echo, address=cluster.address).run(folder)
    replies = [reply for one in seen(folder)["rounds"] for reply in one["replies"]]
    assert sorted(reply["partition"] for reply in replies) == sorted([*range(6), *range(6)])
    assert len({reply["parent"] for reply in replies}) == 2, "workers are children of their node's daemon"
    assert {reply["threads"] for reply in replies} == {"1"}
    assert {reply["telemetry"] for reply in replies} == {"0"}
    assert all(node.remaining_processes_alive() for node in cluster.list_all_nodes())


@pytest.mark.engine
@pytest.mark.slow
def test_two_nodes_give_the_model_of_one_process(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FEW))
    scenario = default_scenario(OVERRIDES)
    reference = launch(scenario, engine="inprocess", parent=tmp_path / "reference")
    monkeypatch.setenv(ADDRESS_VARIABLE, cluster.address)
    folder = launch(scenario, engine="ray", parent=tmp_path / "cluster")
    assert [record.accepted for record in folder.rounds()] == [("writer-00", "writer-01")] * 2
    np.testing.assert_allclose(vector(folder), vector(reference), rtol=0, atol=1e-6)
    assert np.abs(vector(folder)).max() > 0.01


def test_a_cluster_that_does_not_answer_is_named_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(RunFailedError, match="no Ray cluster answers at"):
        launch(default_scenario(OVERRIDES), engine="ray", parent=tmp_path)
    assert not list(tmp_path.iterdir())
