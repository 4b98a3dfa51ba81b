"""What is the same data is told by name and by content: neither a new name nor new content starts a budget anew."""

import dataclasses
from pathlib import Path

import pytest

from skerry.config import default_scenario
from skerry.errors import LedgerCorruptError, RefusedError
from skerry.security.privacy import GaussianEvent, Ledger, Policy
from skerry.security.privacy.verification import read_ledger
from skerry.server.standing import StandingLedgers, data_name

NOW = 1_763_900_000_000
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=True, data="digits/ann")


class Store:
    """Each join is a run of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder / "store", 0

    def join(self, policy: Policy = POLICY, content: str = "aa", device: str = "ann") -> tuple[Path, Policy, Path]:
        self.runs += 1
        link = self.folder.parent / f"run-{self.runs}" / f"{device}.jsonl"
        return (*StandingLedgers(self.folder).join(policy, device, content, link=link, now=NOW), link)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def spend(path: Path, run: str) -> None:
    with Ledger.open(path) as ledger:
        ledger.debit(run, 1, GaussianEvent(100.0), nonce="", now=NOW)


def test_the_same_data_go_on_where_they_stopped_with_the_first_promise(store: Store):
    path, _, _ = store.join()
    spend(path, "a")
    again, agreed, link = store.join(dataclasses.replace(POLICY, epsilon=99.0, min_separation=4))
    assert (again, agreed) == (path, POLICY)
    spend(link, "b")
    assert read_ledger(path).debits == 2
    assert link.is_symlink()


def test_changed_content_under_the_same_name_goes_on_and_is_noted_once(store: Store):
    path, _, _ = store.join(content="aa")
    spend(path, "a")
    for _ in range(2):
        assert store.join(content="bb")[0] == path  # other windows, other labels, more examples
    with Ledger.open(path) as ledger:
        assert [entry.body["content"] for entry in ledger.entries() if entry.kind == "data"] == ["aa", "bb"]
        assert ledger.has("a", 1)


@pytest.mark.parametrize("content", ["aa", "bb"])
def test_the_same_content_under_another_name_is_refused_and_makes_no_ledger(store: Store, content: str):
    store.join(content="aa")
    store.join(content="bb")
    with pytest.raises(RefusedError) as refused:
        store.join(dataclasses.replace(POLICY, data="digits/ben"), content, "ben")
    assert refused.value.reason == "other_name"
    assert "'digits/ann'" in refused.value.what
    assert len(list(store.folder.glob("*.jsonl"))) == 1


def test_two_devices_with_the_same_examples_in_one_run_are_refused(store: Store):
    standing = StandingLedgers(store.folder)
    standing.join(POLICY, "ann", "aa", link=store.folder.parent / "run" / "ann.jsonl", now=NOW)
    other = dataclasses.replace(POLICY, data="digits/ben")
    with pytest.raises(RefusedError, match="'digits/ann'"):
        standing.join(other, "ben", "aa", link=store.folder.parent / "run" / "ben.jsonl", now=NOW)


@pytest.mark.parametrize("change", [{"unit": "none"}, {"unit": "device"}, {"delta": 1e-6}])
def test_another_promise_is_refused(store: Store, change):
    store.join()
    with pytest.raises(RefusedError) as refused:
        store.join(dataclasses.replace(POLICY, **change))
    assert refused.value.reason == "other_promise"


def test_a_ledger_of_other_data_in_its_place_is_refused(store: Store):
    path, _, _ = store.join()
    other, _, _ = store.join(dataclasses.replace(POLICY, data="digits/ben"), "bb", "ben")
    other.replace(path)
    with pytest.raises(RefusedError) as refused:
        store.join()
    assert refused.value.reason in {"other_promise", "other_name"}


def test_a_damaged_ledger_is_not_started_anew(store: Store):
    path, _, _ = store.join()
    spend(path, "a")
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":2'))
    with pytest.raises(LedgerCorruptError):
        store.join()


def test_a_data_set_is_named_by_its_task_and_folder_or_as_it_is_said(tmp_path: Path):
    assert data_name(default_scenario([])) == "digits"
    assert data_name(default_scenario(["privacy.data=ward-7"])) == "ward-7"
    folder = [f"task.root={tmp_path}", "task.name=image-folder", "task.holdout=x"]
    assert data_name(default_scenario(folder)) == f"image-folder:{tmp_path.resolve()}"
