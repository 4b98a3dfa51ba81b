"""A phone in a browser and devices in Python in the same rounds, over real HTTPS."""

import shutil
import threading
import time
from base64 import b64encode
from collections.abc import Iterator

import numpy as np
import pytest
from safetensors.numpy import load_file

from skerry.config import Scenario
from skerry.device.basebuild import build_base
from skerry.device.tasks.digits import DigitsTask, _writers, prepare_like_uci
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan
from skerry.result import load_result
from skerry.runfolder import RunFolder
from skerry.security.privacy.stream import seeded_stream
from skerry.server.launch import launch
from skerry.server.provenance import plaintexts, released_files

from ._enrolled import Up, honest_rounds
from ._phone import MISSING, Browser, PhoneError, PhonePage, build, invite, serving_phones, skerry

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]

PICTURES = 20
SEEN = 300
"""Pictures that are put through the network here and there."""


def scenario(*overrides: str) -> Scenario:
    return honest_rounds("cohort.deadline_s=60", "cohort.patience_s=60", "cohort.at_least=2", *overrides)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    page = build(tmp_path_factory.mktemp("page"))
    with serving_phones(tmp_path_factory.mktemp("runs"), page) as found:
        found.enrol("writer-00", scenario())
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser") / "log")
    yield found
    found.close()


@pytest.fixture(scope="module")
def phone(fleet: Up, browser: Browser) -> PhonePage:
    """A member with examples."""
    found = PhonePage(browser, fleet, "phone-1")
    assert found.view["membership"] == "none"
    found.draw("writer-05", PICTURES)
    found.enrol(invite(fleet))
    found.until("v.activity === 'idle' && v.membership === 'member'")
    return found


def told(folder: RunFolder) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    return [(record.accepted, dict(record.dropped)) for record in folder.rounds()]


BOTH = (("phone-1", "writer-00"), {})


def test_a_phone_and_a_python_device_finish_two_rounds(fleet: Up, phone: PhonePage):
    folder = launch(scenario(), engine="fleet", parent=fleet.runs)
    assert told(folder) == [BOTH] * 2
    view = phone.until("v.rounds.length === 2")
    claim = load_result(folder.path).privacy.devices.per_device["phone-1"]
    assert claim.epsilon_rdp == pytest.approx(view["privacy"]["spent"])
    seen = [(one["round"], one["examples"], one["refused"]) for one in view["rounds"]]
    assert seen == [(2, PICTURES, None), (1, PICTURES, None)]
    drawn = phone.run("async () => phone.guess((await phone.examples())[0].picture)")
    assert len(drawn["probabilities"]) == 10
    assert sum(drawn["probabilities"]) == pytest.approx(1)


def test_a_reload_in_mid_round_loses_nothing_and_debits_once(fleet: Up, phone: PhonePage):
    before = phone.view["privacy"]["spent"]
    ledger = len(phone.ledger())
    kept: list[RunFolder] = []
    running = threading.Thread(
        target=lambda: launch(scenario("rounds=3"), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    )
    running.start()
    phone.reload_in_training()
    for _ in range(2):
        phone.until("v.activity === 'training' || v.activity === 'answering'", 30)
        phone.reload()
    running.join()
    assert told(kept[0]) == [BOTH] * 3
    debits = [line for line in phone.ledger()[ledger:] if '"kind":"debit"' in line]
    assert len(debits) == 3
    assert phone.view["privacy"]["spent"] > before
    claim = load_result(kept[0].path).privacy.devices.per_device["phone-1"]
    assert claim.rounds == 3


def test_what_does_not_let_a_phone_in_is_told(fleet: Up, browser: Browser):
    """An invitation that was used, one that has expired, and a clock that is hours off."""
    used, page = invite(fleet), PhonePage(browser, fleet, "phone-2")
    page.enrol(used)
    assert page.until("v.membership === 'member'")["name"] == "phone-2"
    other = PhonePage(browser, fleet, "phone-3")
    for invitation, said in ((used, "invite"), (invite(fleet, life=1), "expired")):
        time.sleep(0.01)
        with pytest.raises(PhoneError, match=said):
            other.enrol(invitation)
        assert other.view["membership"] == "none"
    late = PhonePage(browser, fleet, "phone-4", hours_off=-3)
    with pytest.raises(PhoneError, match=r"clock is 10[78]\d\d s behind"):
        late.enrol(invite(fleet))
    assert late.view["clockOffsetSeconds"] == pytest.approx(3 * 3600, abs=5)
    for one in (page, other, late):
        one.close()


def test_a_phone_that_is_revoked_is_told_and_keeps_its_ledger(fleet: Up, browser: Browser):
    page = PhonePage(browser, fleet, "phone-7")
    page.draw("writer-05", 1)
    page.enrol(invite(fleet))
    page.until("v.activity === 'idle' && v.membership === 'member'")
    fleet.revoke("phone-7")
    assert page.until("v.membership === 'revoked'")["reason"]["code"] == "revoked"
    page.run("() => phone.leave(false)")
    view = page.until("v.membership === 'none'")
    assert view["examples"] == 0
    assert len(page.ledger()) == 1
    page.close()


def test_a_database_that_was_thrown_away_starts_no_budget_anew(fleet: Up, browser: Browser):
    page = PhonePage(browser, fleet, "phone-5")
    page.enrol(invite(fleet))
    page.until("v.activity === 'idle'")
    page.evict()
    assert page.until("v.storage === 'lost'")["membership"] == "none"
    with pytest.raises(PhoneError, match="thrown away"):
        page.enrol(invite(fleet), "phone-6")
    page.run("() => phone.leave(true)")
    assert page.until("v.storage !== 'lost'")["membership"] == "none"
    page.close()


def test_a_phone_takes_what_is_released_and_no_older_state_of_it(fleet: Up, phone: PhonePage):
    """Over the gateway: keys and versions, its wrap, the encrypted head in ranges; guesses are by that head then."""
    folder = launch(scenario(), engine="fleet", parent=fleet.runs)
    repository, older = fleet.runs / "repository", fleet.runs / "older"
    skerry("release", "init", str(repository))
    publish = ("release", "publish", folder.id, "--repository", str(repository), "--model", "digits", "--enrolled")
    skerry(*publish, "--runs-dir", str(fleet.runs))
    phone.reload()
    view = phone.until("v.model !== null && v.model.version === 1")
    assert view["model"]["refused"] is None
    guess = phone.run("async () => phone.guess((await phone.examples())[0].picture)")
    given = scenario()
    task = DigitsTask(given.task, given.model)
    base = build_base(given.model, task)
    head = load_file(plaintexts(folder, released_files(folder))["head.safetensors"])["head.weight"]
    drawn = np.kron(_writers()["writer-05"].x[:1, ..., 0], np.ones((8, 8), np.uint8))
    row = base.features(task.transform(prepare_like_uci(drawn)))[0]
    scores = row.astype(np.float64) @ head.T.astype(np.float64)
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    assert guess["version"] == 1
    assert guess["probabilities"] == pytest.approx(expected.tolist(), abs=1e-9)
    shutil.copytree(repository, older)
    skerry(*publish, "--runs-dir", str(fleet.runs))
    phone.reload()
    phone.until("v.model !== null && v.model.version === 2")
    shutil.rmtree(repository / "metadata")
    shutil.copytree(older / "metadata", repository / "metadata")
    phone.reload()
    view = phone.until("v.model !== null && v.model.refused !== null")
    assert (view["model"]["version"], view["model"]["refused"]["code"]) == (2, "rollback")


def test_from_the_same_pictures_and_noise_the_update_is_pythons(fleet: Up, phone: PhonePage):
    """Every bit of it: of pooled features, of the rows that a head reads, and of the head's update."""
    given = scenario()
    task = DigitsTask(given.task, given.model)
    base = build_base(given.model, task)
    drawn = [_writers()[writer] for writer in ("writer-07", "writer-03", "writer-12")]
    blocks, labels = (np.concatenate([part(one) for one in drawn])[:SEEN] for part in (lambda d: d.x, lambda d: d.y))
    assert len(blocks) == SEEN
    x = task.transform(blocks)
    plan = TrainPlan(unit="example", epochs=4, learning_rate=200.0, clip=0.05, noise_multiplier=3.0, denominator=128)
    rows = base.features(x)
    trainer = HeadTrainer(10, base.width)
    delta = trainer.train(base.initial, rows, labels, plan, seeded_stream(7, "train", "phone-1", 1))
    own = phone.run("(given) => seededUpdate(given)", {
        "network": b64encode(base.file(8).read_bytes()).decode(),
        "head": b64encode(base.read("head.safetensors")).decode(),
        "bound": base.whitening.bound,
        "bias": base.bias,
        "step": base.facts["step"],
        "blocks": blocks.reshape(SEEN, -1).tolist(),
        "labels": labels.tolist(),
        "plan": {
            "steps": 4, "learningRate": 200.0, "momentum": 0, "proximal": 0, "clip": 0.05, "noiseMultiplier": 3.0,
            "denominator": 128, "samplingRate": 1,
        },
        "seed": 7,
        "device": "phone-1",
        "round": 1,
    })  # fmt: skip
    for of, ours in (("pooled", base.pooled(x)), ("rows", rows), ("delta", delta)):
        assert np.array_equal(np.float32(own[of]), ours), of
