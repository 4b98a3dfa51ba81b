"""One thread per process, no telemetry, and a cache of base models that a test session builds once."""

import os
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy or torch is imported
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Base models are content-addressed and verified when they are loaded: keeping them between sessions is safe.
    os.environ["SKERRY_HOME"] = str(Path(config.rootpath) / ".pytest_cache" / "skerry-home")


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
