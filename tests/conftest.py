"""One thread per process, no telemetry, and a cache of base models that a test session builds once."""

import os
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy or torch is imported
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import pytest
from hypothesis import HealthCheck, settings

from tests._hurried import hurried_latencies
from tests._postgresql import Postgresql, postgresql_server

# A busy machine is slow at an example now and then, which says nothing of what is tested.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    # Base models are content-addressed and verified when they are loaded: keeping them between sessions is safe.
    os.environ["SKERRY_HOME"] = str(Path(config.rootpath) / ".pytest_cache" / "skerry-home")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole scenarios and what builds networks come first: short files then even out when processes are done."""
    rooms = ("scenarios", "docs", "device")
    rank = {room: number for number, room in enumerate(rooms)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("/")[1], len(rooms)))


@pytest.fixture(autouse=True)
def no_registry_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries are files, whatever the environment of whoever runs the tests says."""
    monkeypatch.delenv("SKERRY_REGISTRY", raising=False)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A server of its own; skips where PostgreSQL is not installed."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(params=["file", "postgresql"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_registry_told: None) -> str:
    """The test runs over a registry that is a file, and over one in PostgreSQL."""
    if request.param == "postgresql":
        monkeypatch.setenv("SKERRY_REGISTRY", request.getfixturevalue("postgresql").schema())
    return request.param


@pytest.fixture(params=["file", pytest.param("postgresql", marks=pytest.mark.slow)])
def both_in_full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_registry_told: None) -> None:
    """The same for longer suites: over PostgreSQL in `make test-all`."""
    if request.param == "postgresql":
        monkeypatch.setenv("SKERRY_REGISTRY", request.getfixturevalue("postgresql").schema())


@pytest.fixture
def hurried() -> Iterator[None]:
    """See :mod:`tests._hurried`."""
    with hurried_latencies():
        yield


@pytest.fixture(scope="session")
def prepared_run(tmp_path_factory: pytest.TempPathFactory):
    """A prepared digits run, two rounds long, whose fleet tests may copy; nothing has been trained yet."""
    from skerry.clock import system_clock
    from skerry.config import default_scenario
    from skerry.device.worker import process_worker
    from skerry.runfolder import RunFolder
    from skerry.server.prepare import prepare

    scenario = default_scenario(["rounds=2", "report.references=false"])
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), scenario, engine="inprocess")
    prepare(folder, system_clock, process_worker())
    return folder


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow to be copied."""
    from tests._mlflow import empty_store

    return empty_store(tmp_path_factory.mktemp("mlflow") / "empty.db")


@pytest.fixture(scope="session")
def tiny_graph():
    """A network small enough to be measured, exported and quantized in no time: 3x16x16 pictures to five scores."""
    import numpy as np

    from skerry.device.compression.graph import Graph, Node

    random = np.random.default_rng(0)

    def constants(*shape: int):
        weight = random.normal(scale=(2 / np.prod(shape[1:])) ** 0.5, size=shape).astype(np.float32)
        return weight, random.normal(scale=0.1, size=shape[0]).astype(np.float32)

    return Graph(
        "image",
        (3, 16, 16),
        (
            Node("conv", "stem", ("image",), *constants(16, 3, 3, 3), (2, 2), (0, 0, 1, 1), low=0.0, high=6.0),
            Node("conv", "deep", ("stem",), *constants(16, 1, 3, 3), (1, 1), (1, 1, 1, 1), 16, low=0.0, high=6.0),
            Node("conv", "wide", ("deep",), *constants(16, 16, 1, 1)),
            Node("add", "sum", ("stem", "wide")),
            Node("pool", "pooled", ("sum",)),
            Node("linear", "scores", ("pooled",), *constants(5, 16)),
        ),
        tuple("abcde"),
    )
