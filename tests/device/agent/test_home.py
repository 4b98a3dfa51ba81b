"""What lies in a device's home: the owner's terms, the ledger that follows from them, locks, and how it is erased."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.clock import system_clock
from skerry.device.agent.alone import alone, holder
from skerry.device.agent.diary import Diary, Event, read_diary
from skerry.device.agent.enrolled import LEDGER, agent_folder, device_home, open_ledger
from skerry.device.agent.flwr_fleet import Session
from skerry.device.agent.journal import Journal
from skerry.device.agent.leaving import forget_device
from skerry.device.agent.report import owner_report
from skerry.device.agent.terms import TERMS, read_terms, write_template
from skerry.device.answers import KeptAnswer, answer_beside, keep_answer, kept_answer
from skerry.device.personal import FILE as HEAD
from skerry.device.variates import FILE as VARIATES
from skerry.errors import InputError, RefusedError
from skerry.security.identity import PassphraseLock, SealedKeyStore

from ._superlink import letter

ANSWER = answer_beside(Path(LEDGER)).name
GOOD = '[task]\nname = "digits"\n[privacy]\nunit = "example"\nepsilon = 8.0\ndelta = 1e-5\n'


def terms(home: Path, text: str) -> None:
    (home / TERMS).write_text(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("epsilon = 8.0\n", ""), "epsilon and delta must be set"),
        (GOOD.replace("epsilon = 8.0", "epsilon = inf"), "privacy.epsilon"),
        (GOOD.replace("delta = 1e-5", "delta = 1"), "privacy.delta"),
        (GOOD.replace('"example"', '"everybody"'), "privacy.unit"),
        (GOOD.replace("[privacy]", "[privacy]\nepsilom = 1"), "unknown key 'privacy.epsilom'"),
        (GOOD + "[condition]\n", "unknown key 'condition'"),
        ("[task", "not valid TOML"),
    ],
)
def test_terms_that_cannot_be_used_are_told_by_key(tmp_path: Path, text: str, said: str):
    terms(tmp_path, text)
    with pytest.raises(InputError, match=r"device\.toml") as refused:
        read_terms(tmp_path)
    assert said in refused.value.what


def test_what_enrolment_writes_has_to_be_filled_in_and_is_never_overwritten(tmp_path: Path):
    assert write_template(tmp_path, "pi-1")
    with pytest.raises(InputError, match=r"task\.name: Field required"):
        read_terms(tmp_path)
    filled = (tmp_path / TERMS).read_text()
    for line in ('name = "image-folder"', 'unit = "example"', "epsilon = 8.0", "delta = 1e-5"):
        assert f"#{line}" in filled
        filled = filled.replace(f"#{line}", line)
    terms(tmp_path, filled)
    assert read_terms(tmp_path).task.name == "image-folder"
    assert not write_template(tmp_path, "pi-1")
    prepared = tmp_path / "other.toml"
    prepared.write_text(GOOD)
    with pytest.raises(InputError, match="has terms already"):
        write_template(tmp_path, "pi-1", prepared)
    assert (tmp_path / TERMS).read_text() == filled


def test_a_budget_is_not_started_anew_by_other_terms(tmp_path: Path):
    terms(tmp_path, GOOD)
    open_ledger(device_home(tmp_path, "pi-1", read_terms(tmp_path)), now=system_clock())
    open_ledger(device_home(tmp_path, "pi-1", read_terms(tmp_path)), now=system_clock())
    for other in (GOOD.replace("8.0", "9.0"), GOOD.replace("digits", "fashion")):
        terms(tmp_path, other)
        with pytest.raises(RefusedError) as refused:
            open_ledger(device_home(tmp_path, "pi-1", read_terms(tmp_path)), now=system_clock())
        assert refused.value.reason == "other_promise"


def test_one_agent_has_a_home_and_another_hears_which_process_that_is(tmp_path: Path):
    assert holder(tmp_path) is None
    with alone(tmp_path):
        assert holder(tmp_path) == os.getpid()
        with pytest.raises(RefusedError, match=str(os.getpid())), alone(tmp_path):
            pytest.fail("two agents")
    with alone(tmp_path):
        pass
    assert holder(tmp_path) is None


def test_a_journal_gives_back_what_was_kept_and_nothing_of_what_a_disk_has_damaged(tmp_path: Path):
    journal, kept = Journal(tmp_path), letter(b"dig")
    journal.keep_letter(kept)
    journal.keep_reply(letter(b"dug"))
    journal.keep_session(Session("s", ("a", "b")))
    again = Journal(tmp_path)
    assert again.letter() == kept
    assert again.reply().session == Session("s", ("a", "b"))
    assert (tmp_path / "letter.cbor").stat().st_mode & 0o077 == 0
    damaged = (tmp_path / "letter.cbor").read_bytes()
    (tmp_path / "letter.cbor").write_bytes(damaged[:-3])
    assert again.letter() is None
    again.keep_letter(kept)
    assert again.reply() is None  # it belonged to another message


def test_the_diary_outlives_its_process_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, heard = tmp_path / "diary.json", []
    Diary(path, lambda: 1000, heard.append).tell(Event.REFUSED, "too much", "budget")
    second = Diary(path, lambda: 200_000, heard.append)
    second.in_touch()
    monkeypatch.setattr("skerry.device.agent.diary.write_json", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "")))
    second.tell(Event.TRAINED, "round 1")
    assert [entry.event for entry in heard] == [Event.REFUSED, Event.TRAINED]
    assert read_diary(path)["last_contact"] == 200_000
    assert [one["reason"] for one in read_diary(path)["entries"]] == ["budget"]


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """A home with keys, a ledger, the answer that it paid for, and somebody's picture."""
    home = tmp_path / "home"
    home.mkdir()
    terms(home, GOOD)
    SealedKeyStore.create(home / "keys", "pi-1", PassphraseLock(b"long enough"), now=0)
    open_ledger(device_home(home, "pi-1", read_terms(home)), now=system_clock())
    keep_answer(home / LEDGER, "asked", KeptAnswer(b"noisy", b"my own head"))
    (home / "holiday.png").write_bytes(b"mine")
    return home


def left(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def test_nobody_is_asked_whether_to_erase_what_an_agent_uses(abandoned: Path):
    with alone(agent_folder(abandoned)):
        asked = CliRunner().invoke(app, ["device", "forget", "--home", str(abandoned)], input="y\n")
    assert asked.exit_code == 3
    assert "Erase" not in asked.output
    assert (abandoned / "keys").exists()


def test_forgetting_takes_what_is_the_device_s_and_nothing_else(abandoned: Path, tmp_path: Path):
    with pytest.raises(InputError, match="not the folder of a device"):
        forget_device(tmp_path)
    erased, kept = forget_device(abandoned)
    assert kept == [LEDGER, ANSWER]
    assert erased == ["keys", "keys.lock", "agent"]
    assert left(abandoned) == {LEDGER, ANSWER, TERMS, "holiday.png"}
    assert forget_device(abandoned, ledger=True) == (["agent", LEDGER, ANSWER], [])
    assert left(abandoned) == {TERMS, "holiday.png"}


def test_what_was_learned_from_the_data_is_forgotten(abandoned: Path):
    learned = {HEAD, VARIATES}
    for name in learned:
        (abandoned / name).write_bytes(b"learned from the data")
    erased, _ = forget_device(abandoned)
    assert learned <= set(erased)
    assert not learned & left(abandoned)


@pytest.mark.parametrize("damaged", [False, True])
def test_of_an_answer_that_was_forgotten_only_that_there_was_one_is_left(abandoned: Path, damaged: bool):
    if damaged:
        (abandoned / ANSWER).write_bytes(b"my own head, torn")
    forget_device(abandoned)
    assert b"my own head" not in (abandoned / ANSWER).read_bytes()
    with pytest.raises(RefusedError) as refused:
        kept_answer(abandoned / LEDGER, "asked")
    assert refused.value.reason == "answer_forgotten"
    if not damaged:
        assert kept_answer(abandoned / LEDGER, "something else") is None


def test_writes_that_were_cut_short_are_forgotten_too(abandoned: Path):
    cut = [f".{HEAD}.k3j4h5gf", f".{VARIATES}.mnbvcxza", f".{ANSWER}.abcdefgh", ".keys.12345678"]
    for name in cut:
        (abandoned / name).write_bytes(b"my own head")
    erased, _ = forget_device(abandoned)
    assert set(cut) <= set(erased)
    assert left(abandoned) == {LEDGER, ANSWER, TERMS, "holiday.png"}


@pytest.mark.parametrize("ledger", [False, True])
def test_forgetting_that_was_killed_on_its_way_is_ended_by_the_next_call(
    abandoned: Path, monkeypatch: pytest.MonkeyPatch, ledger: bool
):
    """Killed before each of its deletions in turn; an answer never goes while its debit stays."""

    class Killed(BaseException):
        pass

    (abandoned / "agent").mkdir()
    (abandoned / "agent" / "checkpoint").write_bytes(b"secret")
    (abandoned / "membership.json").write_bytes(b"{}")
    whole, deleted = abandoned.with_name("whole"), Path.unlink
    shutil.copytree(abandoned, whole)
    for before in range(20):
        shutil.rmtree(abandoned)
        shutil.copytree(whole, abandoned)
        times = [before]

        def unlink(path: Path, missing_ok: bool = False, times: list[int] = times) -> None:
            if path.parent == abandoned and not times[0]:
                raise Killed
            times[0] -= path.parent == abandoned
            deleted(path, missing_ok=missing_ok)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink)
            try:
                forget_device(abandoned, ledger=ledger)
            except Killed:
                pass
            else:
                break
        assert (abandoned / ANSWER).exists() or not (abandoned / LEDGER).exists()
        forget_device(abandoned, ledger=ledger)
        assert left(abandoned) == {TERMS, "holiday.png"} | (set() if ledger else {LEDGER, ANSWER})
    assert before >= 2


def test_status_says_why_an_agent_that_runs_does_not_work(abandoned: Path):
    def shown() -> str:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["device", "status", "--home", str(abandoned)])
        assert result.exit_code == 0, result.output
        return result.output

    diary = Diary(agent_folder(abandoned) / "diary.json", system_clock, lambda _: None)
    with alone(agent_folder(abandoned)):
        diary.tell(Event.STARTED, "pi-1")
        assert "rests" not in shown()
        diary.tell(Event.YIELDED, "nothing here tells whether the network is metered", "network")
        diary.tell(Event.OFFLINE, "told the SuperLink that the device is away")
        assert owner_report(abandoned).resting == "nothing here tells whether the network is metered"
        assert shown().count("nothing here tells whether the network is metered") == 2  # now, and among what happened
        diary.tell(Event.ONLINE, "joined")
        assert owner_report(abandoned).resting is None
        diary.tell(Event.YIELDED, "too hot", "heat")
        diary.tell(Event.REFUSED, "the device could not work until nobody waited any more", "conditions_lapsed")
        diary.tell(Event.FAILED, "the certificate was not renewed")
        diary.tell(Event.OFFLINE, "told the SuperLink that the device is away")
        assert owner_report(abandoned).resting == "too hot"  # what comes of it, and beside it, does not end it
        diary.tell(Event.RESUMED, "the device may work again")
        assert owner_report(abandoned).resting is None
        diary.tell(Event.YIELDED, "too hot", "heat")
    assert owner_report(abandoned).resting is None  # an agent that does not run rests for no reason
    assert "rests" not in shown()


def test_status_shows_what_a_server_said_as_it_said_it(abandoned: Path):
    said = "wrong_clock: sign again [/v1/fleet/activate-node] [red]now[/red] :boom:"
    Diary(agent_folder(abandoned) / "diary.json", system_clock, lambda _: None).tell(Event.LOST, said)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["device", "status", "--home", str(abandoned)])
    assert result.exit_code == 0, result.output
    assert said in result.output
