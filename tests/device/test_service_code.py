"""The generated code of ``device.proto`` is that of the file beside it, and a device needs no torch for it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_generated_code_is_up_to_date(tmp_path: Path):
    pytest.importorskip("grpc_tools")
    (tmp_path / "skerry" / "device" / "service").mkdir(parents=True)
    name = "skerry/device/service/device.proto"
    (tmp_path / name).write_bytes((ROOT / "device" / "service" / "device.proto").read_bytes())
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(tmp_path), *outputs, name]
    subprocess.run(command, check=True, timeout=180)
    for made in (tmp_path / "skerry" / "device" / "service").glob("device_pb2*"):
        assert made.read_bytes() == (ROOT / "device" / "service" / made.name).read_bytes(), "run `make proto`"


def test_the_client_needs_no_torch_and_no_server_library():
    heavy = {"torch", "opacus", "sqlalchemy", "starlette", "uvicorn", "fastapi", "flwr"}
    code = f"import sys, skerry.device.service; print(*sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180)
    assert loaded.stdout.split() == []
