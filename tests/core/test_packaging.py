"""What is on disk, what is packaged, and what may import what are the same story."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "security", "device", "strategies", "server")
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders() -> dict[str, str]:
    """Import name of each package folder on disk."""
    found = {}
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found[".".join(["skerry", *(parts[1:] if parts[0] == "core" else parts)])] = str(Path(*parts))
    return found


def test_every_package_on_disk_is_packaged():
    packaged = TOML["tool"]["setuptools"]
    assert sorted(packaged["packages"]) == sorted(folders())
    assert packaged["package-dir"] == folders()


def test_no_folder_at_the_root_shadows_the_installed_package():
    assert not (ROOT / "skerry").exists()


def test_a_head_mode_device_and_the_help_import_no_heavy_library():
    heavy = {"torch", "opacus", "scipy", "sklearn", "plotly", "onnx", "ray", "dp_accounting", "pandas"}
    for module in ("skerry.device.app", "skerry.security.privacy", "skerry.device.training.head"):
        code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert loaded.stdout.split() == [], module
    code = "import sys, skerry.cli; print(*sorted({'numpy', 'flwr', 'torch', 'onnxruntime'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_the_project_ships_no_large_or_unreadable_binary():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.exists():
            assert path.stat().st_size < 1 << 20, name
            assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".so", ".pyd"}, name


def test_the_lock_file_of_the_web_device_records_no_download_addresses():
    lock = json.loads((ROOT / "device" / "web" / "package-lock.json").read_text())
    assert len(lock["packages"]) > 50
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or "integrity" in package, name  # the digest, from wherever it comes


def test_a_wheel_without_the_compiled_part_is_for_any_processor_and_one_with_it_is_not():
    code = (
        "import setuptools; from distutils.core import run_setup;"
        "command = run_setup('setup.py', ['bdist_wheel'], 'commandline').get_command_obj('bdist_wheel');"
        "command.ensure_finalized(); print(*command.get_tag())"
    )
    tags = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | given, capture_output=True, text=True, check=True
        ).stdout.split()
        for given in ({"SKERRY_PURE": "1"}, {"SKERRY_PURE": ""})
    ]
    assert tags[0] == ["py3", "none", "any"]
    assert tags[1][:2] == ["cp311", "abi3"]
    assert tags[1][2] != "any"


def test_all_that_the_compiled_parts_are_built_from_is_in_a_source_distribution_and_built_anew_when_it_changes():
    code = (
        "import setuptools; from distutils.core import run_setup;"
        "command = run_setup('setup.py', ['build_ext'], 'commandline').get_command_obj('build_ext');"
        "command.ensure_finalized(); print(*command.get_source_files())"
    )
    given = os.environ | {"SKERRY_PURE": ""}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    packed = set(run.stdout.split())
    sources = {f"{place}/{path.name}" for place in folders().values() for path in (ROOT / place).glob("_*.[ch]")}
    assert "device/models/_cnn_pass.h" in sources
    assert packed == sources
    rule = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("$(VENV)/.ready:"))
    assert sources < set(rule.split())


ARITHMETIC = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
import numpy as np

def load(path):
    spec = spec_from_file_location(path.rpartition("/")[2], f"{sys.argv[1]}/skerry/{path}.abi3.so")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

load("strategies/_selection")
load("security/privacy/mechanisms/_inversion")
head = load("device/training/_head")
assert ((np.full(9, 5e-324) * 1).view(np.int64) == 1).all(), "the smallest numbers are zero to the whole process"
rows = np.array([[np.nan, 1.0, 1.0], [9.6, 0.0, 0.0], [3.0, 4.4, -2.0]])
total = np.zeros(3, np.int64)
left_out = head.add_products(np.ones((3, 1)), rows, 9.7, total)
assert (left_out, total.tolist()) == (2, [3, 4, -2]), f"{left_out} left out, {total}"
scores = np.zeros((1, 1), np.float32)
load("device/models/_cnn").scores(np.ones(101041, np.float32), np.full((1, 1, 28, 28), np.nan, np.float32), scores)
assert np.isnan(scores).all(), "a network's scores are numbers where its pictures are none"
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_no_flag_in_the_environment_of_a_build_changes_what_numbers_are(tmp_path: Path):
    flags = "-Ofast -ffinite-math-only -funsafe-math-optimizations"
    build = [sys.executable, "setup.py", "-q", "build_ext", f"--build-lib={tmp_path}/lib", f"--build-temp={tmp_path}"]
    given = os.environ | {"CFLAGS": flags, "SKERRY_PURE": ""}
    subprocess.run(build, cwd=ROOT, env=given, capture_output=True, check=True)
    tried = [sys.executable, "-c", ARITHMETIC, f"{tmp_path}/lib"]
    found = subprocess.run(tried, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_what_is_left_to_the_emulated_device_still_imports_what_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.scenarios._machine.EMULATED", "/nowhere")
    for name in ("test_arm64", "update"):
        spec = importlib.util.spec_from_file_location(f"arm64_{name}", ROOT / "tests" / "arm64" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
