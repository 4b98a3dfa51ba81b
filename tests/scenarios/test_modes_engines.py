"""A mode that needs torch gives the same model on Ray and on a SuperLink as in one process."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from skerry.runfolder import RunFolder
from skerry.server.launch import launch

TINY = Path(__file__).parents[1] / "device"


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TINY))
        yield
    sys.modules.pop("tiny_tasks", None)


def vector(folder: RunFolder) -> np.ndarray:
    return load_file(folder.path / "checkpoint" / "round.safetensors")["vector"]


@pytest.fixture(scope="module")
def scenario():
    import tiny_tasks

    return tiny_tasks.scenario("lora", "TinyWindows", "example")


@pytest.fixture(scope="module")
def reference(scenario, tmp_path_factory) -> RunFolder:
    return launch(scenario, engine="inprocess", parent=tmp_path_factory.mktemp("reference"))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "superlink"])
def test_private_adapters_come_out_the_same_on_every_engine(engine, scenario, reference, tmp_path):
    folder = launch(scenario, engine=engine, parent=tmp_path)
    assert folder.status["state"] == "complete"
    assert [record.accepted for record in folder.rounds()] == [("device-0", "device-1", "device-2")] * 2
    assert vector(folder).any()
    np.testing.assert_allclose(vector(folder), vector(reference), rtol=0, atol=1e-6)
