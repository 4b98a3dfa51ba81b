"""Devices of every kind in the same rounds: Python with and without torch, an emulated aarch64, a phone's browser.

The federation asks those that one tag chooses. They have digits as each of them can have them: as the shipped task, as
picture files, or drawn on a page. The emulated one takes part where ``make test-arm64`` has made it.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skerry.clock import system_clock
from skerry.config import Scenario
from skerry.device.tasks.digits import _writers
from skerry.result import load_result
from skerry.security.privacy.verification import read_ledger
from skerry.server.launch import launch
from skerry.server.proof import verify_run

from ._enrolled import Up, honest_rounds
from ._machine import EMULATED, Machine, emulated, native, native_without_torch
from ._phone import MISSING, Browser, PhonePage, build, invite, serving_phones

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]

PHONE, OUTSIDER, TAG = "phone", "writer-02", "mixed"
WRITERS = {"with-torch": "writer-00", "without-torch": "writer-01", "emulated": "writer-04", PHONE: "writer-05"}
PICTURES = 20
WHAT = """
import importlib.util, json, platform
print(json.dumps([platform.machine(), importlib.util.find_spec("torch") is not None]))
"""


def scenario(names: tuple[str, ...]) -> Scenario:
    return honest_rounds(
        f"cohort.tags=['{TAG}']", f"cohort.at_least={len(names)}", "cohort.patience_s=600", "cohort.deadline_s=600"
    )


def task_of(name: str, machine: Machine) -> dict:
    """The digits of a writer; where the shipped data are not installed, as pictures in files."""
    if name != "emulated":
        return {"name": "digits", "holder": WRITERS[name]}
    data = _writers()[WRITERS[name]]
    for number, (picture, label) in enumerate(zip(data.x[:PICTURES], data.y, strict=False)):
        place = machine.folder / "pictures" / name / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0]).save(place / f"{number}.png")
    for digit in range(10):  # one of which it has no example is an empty folder
        (machine.folder / "pictures" / name / str(digit)).mkdir(exist_ok=True)
    return {"name": "image-folder", "root": str(machine.inside / "pictures"), "holder": name}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    made = tmp_path_factory.mktemp
    with ExitStack() as stack:
        found = {
            "with-torch": native(made("with-torch")),
            "without-torch": native_without_torch(made("without-torch"), made("packages")),
        }
        if EMULATED:
            found["emulated"] = stack.enter_context(emulated(Path(EMULATED)))
        yield found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    page = build(tmp_path_factory.mktemp("page"))
    with serving_phones(tmp_path_factory.mktemp("runs"), page) as found:
        yield found


@pytest.fixture(scope="module")
def phone(fleet: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhonePage]:
    browser = Browser(tmp_path_factory.mktemp("browser") / "log")
    found = PhonePage(browser, fleet, PHONE)
    found.draw(WRITERS[PHONE], PICTURES)
    found.enrol(invite(fleet))
    found.until("v.activity === 'idle' && v.membership === 'member'")
    yield found
    browser.close()


def test_devices_of_every_kind_take_part_in_the_same_rounds_chosen_by_tag(
    fleet: Up, machines: dict[str, Machine], phone: PhonePage, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(sorted([*machines, phone.name]))
    given, office = scenario(names), fleet.server.office
    kinds = {name: json.loads(machine.python(WHAT)) for name, machine in machines.items()}
    assert kinds["with-torch"][1]
    assert [torch for name, (_, torch) in kinds.items() if name != "with-torch"] == [False] * (len(kinds) - 1)
    assert kinds.get("emulated", ["aarch64"])[0] == "aarch64"
    for name, machine in machines.items():
        machine.enrol(fleet, name, task_of(name, machine), given)
    outsider = fleet.enrol(OUTSIDER, given)  # on, and not called so
    for name in names:
        office.tag(office.find(name), [TAG], by="ann", now=system_clock())
    with ExitStack() as agents:
        for machine in machines.values():
            agents.enter_context(machine.agent())
        folder = launch(given, engine="fleet", parent=fleet.runs)
    rounds = [(record.accepted, dict(record.dropped)) for record in folder.rounds()]
    with capsys.disabled():
        sys.stderr.write(f"\nin the same rounds: {kinds | {phone.name: 'a browser'}}\naccepted, dropped: {rounds}\n")
    assert rounds == [(names, {})] * 2
    assert verify_run(folder, remembered={}, pld=False).holds
    claims = load_result(folder.path).privacy.devices.per_device
    assert sorted(claims) == list(names)
    for machine in machines.values():
        account = read_ledger(machine.folder / "home" / "ledger.jsonl")
        assert (account.debits, account.problems) == (2, [])
    assert len([line for line in phone.ledger() if '"kind":"debit"' in line]) == 2
    assert all(np.isclose(claim.epsilon_rdp, claims[phone.name].epsilon_rdp) for claim in claims.values())
    with outsider.ledger() as ledger:
        assert not list(ledger.debited(folder.id))
