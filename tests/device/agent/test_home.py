"""What lies in a device's home: the owner's terms, the ledger that follows from them, locks, and how it is erased."""

import os
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.device.agent.alone import alone, holder
from skerry.device.agent.diary import Diary, Event, read_diary
from skerry.device.agent.enrolled import LEDGER, device_home, open_ledger
from skerry.device.agent.flwr_fleet import Session
from skerry.device.agent.journal import Journal
from skerry.device.agent.leaving import forget_device
from skerry.device.agent.terms import TERMS, read_terms, write_template
from skerry.errors import InputError, RefusedError
from skerry.security.identity import PassphraseLock, SealedKeyStore

from ._superlink import letter

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


def test_forgetting_takes_what_is_the_device_s_and_nothing_else(tmp_path: Path):
    with pytest.raises(InputError, match="not the folder of a device"):
        forget_device(tmp_path)
    terms(tmp_path, GOOD)
    SealedKeyStore.create(tmp_path / "keys", "pi-1", PassphraseLock(b"long enough"), now=0)
    open_ledger(device_home(tmp_path, "pi-1", read_terms(tmp_path)), now=system_clock())
    (tmp_path / "ledger.answer.cbor").write_bytes(b"noisy")
    (tmp_path / "holiday.png").write_bytes(b"mine")
    erased, kept = forget_device(tmp_path)
    assert kept == [LEDGER]
    assert {"keys", "ledger.answer.cbor", "agent"} <= set(erased)
    assert {path.name for path in tmp_path.iterdir()} == {LEDGER, TERMS, "holiday.png"}
    assert forget_device(tmp_path, ledger=True) == ([LEDGER, "agent"], [])
    assert {path.name for path in tmp_path.iterdir()} == {TERMS, "holiday.png"}
