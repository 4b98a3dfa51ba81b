"""A phone in a browser and devices in Python in the same rounds, over real HTTPS."""

from collections.abc import Iterator

import pytest

from skerry.config import Scenario, default_scenario
from skerry.result import load_result
from skerry.server.launch import launch

from ._enrolled import Up
from ._phone import MISSING, Browser, PhonePage, build, invite, serving_phones

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(280),
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]


def scenario(*overrides: str) -> Scenario:
    return default_scenario([
        "rounds=2",
        "attack.kind=none",
        "attack.devices=0",
        "defence.aggregator=mean",
        "defence.tolerate=0",
        "report.references=false",
        "cohort.deadline_s=60",
        "cohort.patience_s=60",
        "cohort.at_least=2",
        *overrides,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    page = build(tmp_path_factory.mktemp("page"))
    with serving_phones(tmp_path_factory.mktemp("runs"), page) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser") / "log")
    yield found
    found.close()


@pytest.mark.slow
def test_a_phone_and_a_python_device_finish_two_rounds(fleet: Up, browser: Browser):
    given = scenario()
    fleet.enrol("writer-00", given)
    phone = PhonePage(browser, fleet, "phone-1")
    assert phone.view["membership"] == "none"
    phone.draw("writer-05", 20)
    phone.enrol(invite(fleet))
    assert phone.until("v.activity === 'idle' && v.membership === 'member'")["examples"] == 20
    folder = launch(given, engine="fleet", parent=fleet.runs)
    assert [(record.accepted, dict(record.dropped)) for record in folder.rounds()] == [
        (("phone-1", "writer-00"), {})
    ] * 2
    view = phone.until("v.rounds.length === 2")
    claim = load_result(folder.path).privacy.devices.per_device["phone-1"]
    assert claim.epsilon_rdp == pytest.approx(view["privacy"]["spent"])
    assert [(one["round"], one["examples"], one["refused"]) for one in view["rounds"]] == [(2, 20, None), (1, 20, None)]
