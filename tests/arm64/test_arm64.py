"""A device on an emulated aarch64 and one of this machine in one federation: what differs between them and what not.

The emulated one is skerry's agent without torch in a Debian for arm64 (``root.sh``), reached by chroot: another
architecture, other wheels, no /proc and no /sys. Servers, TLS, the desk and the gateway are the real ones. How fast it
is says nothing about any device.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skerry.cli import app
from skerry.config import Scenario, parse_scenario
from skerry.result import load_result
from skerry.runfolder import RunFolder
from skerry.security.aead import Cipher
from skerry.security.privacy.verification import read_ledger
from skerry.server.launch import launch
from skerry.server.prepare import train_plan
from skerry.server.proof import verify_run
from skerry.server.provenance import released_files
from tests.scenarios._enrolled import Up, up
from tests.scenarios._machine import EMULATED, Machine
from tests.scenarios._machine import emulated as on_aarch64
from tests.scenarios._machine import native as on_this_machine

pytestmark = [pytest.mark.arm64, pytest.mark.engine, pytest.mark.timeout(1800)]

assert EMULATED is not None  # conftest.py
ROOT = Path(EMULATED)
NAMES = ("emulated", "native")
CLASSES, EXAMPLES, PUBLIC = ("disc", "stripes", "square"), 4, 12
SCENARIO = """
name = "two-processors"
rounds = 2
[task]
name = "image-folder"
root = "pictures"
public = "public"
holdout = ["held-out"]
[model]
components = 16
[privacy]
epsilon = 8.0
denominator = 12
[defence]
aggregator = "mean"
tolerate = 0
[attack]
kind = "none"
devices = 0
[cohort]
tags = ["emulated", "native"]
at_least = 2
patience_s = 600
deadline_s = 900
[report]
references = false
"""


@pytest.fixture(scope="module")
def emulated() -> Iterator[Machine]:
    with on_aarch64(ROOT) as machine:
        yield machine


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return on_this_machine(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def machines(emulated: Machine, native: Machine) -> dict[str, Machine]:
    return dict(zip(NAMES, (emulated, native), strict=True))


def draw(kind: str, random: np.random.Generator) -> Image.Image:
    """A shape somewhere on a noisy ground."""
    rows, columns = np.mgrid[:64, :64]
    x, y, size = random.uniform(22, 42, 3)
    inside = {
        "disc": (rows - y) ** 2 + (columns - x) ** 2 < (size / 2) ** 2,
        "square": (abs(rows - y) < size / 2.4) & (abs(columns - x) < size / 2.4),
        "stripes": (rows // 6) % 2 == 0,
    }[kind]
    grey = np.where(inside, 210, 50) + random.normal(0, 12, (64, 64))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody's; a device is given its own alone."""
    root, random = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(7)
    for holder, each in ((NAMES[0], EXAMPLES), (NAMES[1], EXAMPLES), ("held-out", EXAMPLES), ("public", PUBLIC)):
        for kind in CLASSES:
            place = root / holder / kind
            place.mkdir(parents=True)
            for number in range(each):
                draw(kind, random).save(place / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def scenario(pictures: Path) -> Scenario:
    return parse_scenario(SCENARIO, base=pictures.parent)


def here(*words: object) -> dict:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, machines, pictures: Path, scenario: Scenario) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("runs")) as found:
        here("release", "init", found.runs / "repository")
        for name, machine in machines.items():
            shutil.copytree(pictures / name, machine.folder / "pictures" / name)
            task = {"name": "image-folder", "root": str(machine.inside / "pictures"), "holder": name}
            machine.enrol(found, name, task, scenario)
        yield found


@pytest.fixture(scope="module")
def complete(fleet: Up, machines: dict[str, Machine], scenario: Scenario) -> RunFolder:
    """Two rounds with both devices."""
    with ExitStack() as agents:
        for machine in machines.values():
            agents.enter_context(machine.agent())
        return launch(scenario, engine="fleet", parent=fleet.runs)


def test_the_device_is_another_machine_without_torch_whose_kernel_tells_it_nothing(emulated: Machine) -> None:
    script = (
        "import importlib.util as u, json, os, platform, skerry;"
        "print(json.dumps([platform.machine(), u.find_spec('torch') is None, skerry.__file__, os.listdir('/proc')]))"
    )
    done = subprocess.run([*emulated.command, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["aarch64", True, "/opt/skerry/skerry/__init__.py", []]


def test_both_take_part_in_two_rounds_and_their_own_ledgers_say_so(
    fleet: Up, complete: RunFolder, machines: dict[str, Machine]
) -> None:
    assert [(record.accepted, dict(record.dropped)) for record in complete.rounds()] == [(NAMES, {})] * 2
    result = load_result(complete.path)
    assert (result.run.state, result.run.simulated) == ("complete", False)
    assert result.delivery is not None
    assert result.delivery.recipients == len(NAMES)
    assert verify_run(complete, remembered={}, pld=False).holds
    for name, machine in machines.items():
        account = read_ledger(machine.folder / "home" / "ledger.jsonl")
        assert (account.debits, account.problems) == (2, [])
        assert result.privacy.devices.per_device[name].rounds == 2


def test_the_doctor_there_says_what_the_kernel_does_not_tell_it(complete: RunFolder, emulated: Machine) -> None:
    told = emulated.told("device", "doctor", *emulated.home)
    found = {one["name"]: (one["state"], one["found"]) for one in told["findings"]}
    assert told["ok"]
    assert found["memory"] == ("warn", "the kernel does not tell")
    assert found["heat"][0] == "ok"
    assert found["heat"][1].startswith("no sensor here")
    assert found["ledger"] == ("ok", "verified, 2 rounds")
    can = told["capability"]
    assert (can["architecture"], can["isa"], can["trainable"]) == ("aarch64", [], ["head"])
    assert told["telemetry"]["free_memory"] == told["telemetry"]["battery"] == "LEVEL_UNSPECIFIED"


def test_a_release_of_the_run_reaches_both_under_the_cipher_that_suits_a_processor_without_aes(
    fleet: Up, complete: RunFolder, machines: dict[str, Machine]
) -> None:
    repository = fleet.runs / "repository"
    here("release", "publish", complete.id, "--model", "shapes", "--repository", repository, "--enrolled",
         "--runs-dir", fleet.runs)  # fmt: skip
    ciphers = {one.device.name: one.ciphers[0] for one in fleet.server.office.enrolled()}
    assert ciphers["emulated"] is Cipher.CHACHA20_POLY1305
    root = fleet.runs / "repository.root.json"
    released = {file.name: file.sha256 for file in released_files(complete)}
    assert released
    for machine in machines.values():
        shutil.copy(root, machine.folder)
        taken = machine.told(
            "release", "fetch", "shapes", *machine.home, "--to", machine.inside / "models", "--root",
            machine.inside / root.name, "--repository", f"https://{fleet.server.noted.addresses['gateway']}",
        )  # fmt: skip
        got = {name: machine.folder / Path(path).relative_to(machine.inside) for name, path in taken["files"].items()}
        assert {name: sha256(got[name].read_bytes()).hexdigest() for name in released} == released
        assert taken["version"] == 1


def test_the_update_of_a_head_is_the_same_on_both_processors(
    complete: RunFolder,
    machines: dict[str, Machine],
    pictures: Path,
    scenario: Scenario,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same base, pictures, seed: features by int8 kernels of two architectures, then clipping and noise."""
    digest = json.loads((complete.path / "model" / "base.json").read_text())["digest"]
    given = {
        "digest": digest,
        "holder": "emulated",
        "task": {"name": "image-folder", "holdout": []},
        "model": scenario.model.model_dump(mode="json", exclude_none=True),
        "plan": asdict(train_plan(scenario)),
    }
    made = {}
    for name, machine in machines.items():
        assert (machine.folder / "cache" / "models" / digest).is_dir()  # each fetched it from the gateway
        place = machine.folder / "update"
        place.mkdir()
        shutil.copytree(pictures / "emulated", place / "pictures" / "emulated")
        (place / "given.json").write_text(json.dumps(given))
        shutil.copy(Path(__file__).with_name("update.py"), place)
        inside = machine.inside / "update"
        subprocess.run([*machine.command, str(inside / "update.py"), str(inside), str(inside / "pictures")], check=True)
        made[name] = np.load(place / "update.npz")
    there, ours = (made[name] for name in NAMES)
    assert np.array_equal(there["labels"], ours["labels"])
    assert np.array_equal(there["start"], ours["start"])
    assert np.array_equal(there["noise"], ours["noise"])  # to the last bit: integers from the same stream
    assert there["noise"].any()
    apart = {name: float(np.abs(there[name] - ours[name]).max()) for name in ("features", "plain", "update", "other")}
    moved = float(np.abs(there["update"] - there["noise"]).max())
    other = float(np.abs(there["update"] - there["other"]).max())
    with capsys.disabled():
        sys.stderr.write(f"\nlargest differences between the processors: {apart}; examples move one by {moved:.3g}\n")
    assert max(apart.values()) <= 1e-5
    assert min(moved, other, float(np.abs(there["plain"]).max())) > 1e-2  # a thousand times further than that


def test_the_device_leaves_and_the_federation_knows(complete: RunFolder, fleet: Up, emulated: Machine) -> None:
    """The last one."""
    left = emulated.told("device", "leave", *emulated.home, "--yes")
    assert (left["left"], left["out_before"]) == (True, False)
    assert fleet.server.office.find("emulated").left is not None
    assert sorted(path.name for path in (emulated.folder / "home").glob("ledger.*")) == [
        "ledger.answer.cbor", "ledger.jsonl",
    ]  # fmt: skip
