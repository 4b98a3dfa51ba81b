"""``skerry privacy``: figures come from the ledgers, and no change to a ledger goes unnoticed."""

import json
from pathlib import Path

import pytest


def _verify(skerry) -> tuple[int, dict]:
    result = skerry("privacy", "verify", "latest", "--json")
    return result.exit_code, json.loads(result.stdout)


def test_show_tells_each_device_with_delta_unit_and_relation(skerry, run: Path) -> None:
    devices = json.loads(skerry("privacy", "show", "latest", "--json").stdout)["devices"]
    assert len(devices) == 11
    for device in devices:
        assert (device["delta"], device["unit"], device["relation"]) == (1e-5, "example", "add/remove")
        assert device["rounds"] == 20
        assert 7.9 < device["epsilon_rdp"] <= device["epsilon_budget"] == 8
        assert device["simulated"] is True
    shown = skerry("privacy", "show", "latest").stdout
    assert "1e-5" in shown
    assert "add/remove" in shown
    assert "simulated noise" in shown


def test_show_works_on_an_interrupted_run(skerry, sample, tmp_path: Path) -> None:
    sample.build(tmp_path, state="interrupted", rounds_done=3)
    devices = json.loads(skerry("privacy", "show", "latest", "--runs-dir", tmp_path, "--json").stdout)["devices"]
    assert {device["rounds"] for device in devices} == {3}


def test_a_whole_run_verifies_by_two_accountants(skerry, run: Path) -> None:
    code, document = _verify(skerry)
    assert code == 0
    assert document["ok"] is True
    assert len(document["ledgers"]) == 12
    for ledger in document["ledgers"][1:]:
        assert ledger["epsilon_pld"] < ledger["epsilon_rdp"]
    assert skerry("privacy", "verify", "latest").exit_code == 0


def test_one_changed_byte_is_refused(skerry, run: Path) -> None:
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":7', b'"round":8', 1))
    code, document = _verify(skerry)
    assert code == 3
    assert document["ok"] is False
    assert document["error"]["reason"] == "ledgers_do_not_hold"
    assert [ledger["subject"] for ledger in document["ledgers"] if ledger["problems"]] == ["writer-05"]
    shown = skerry("privacy", "verify", "latest")
    assert shown.exit_code == 3
    assert "writer-05" in shown.stdout
    assert "refused" in shown.stderr


@pytest.mark.parametrize("lines", [1, 15])
def test_entries_cut_off_the_end_are_found_by_the_receipts(skerry, run: Path, lines: int) -> None:
    path = run / "ledger" / "devices" / "writer-07.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))
    code, document = _verify(skerry)
    assert code == 3
    assert [ledger["subject"] for ledger in document["ledgers"] if ledger["problems"]] == ["writer-07"]


def test_a_result_that_claims_less_than_the_ledger_is_refused(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["devices"]["per_device"]["writer-00"]["epsilon_rdp"] = 1.0
    (run / "result.json").write_text(json.dumps(result))
    code, document = _verify(skerry)
    assert code == 3
    assert "writer-00" in document["problems"][0]


def test_evidence_must_name_an_entry_that_exists(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["evidence"]["quality.final"]["leaf"] = "ab" * 32
    (run / "result.json").write_text(json.dumps(result))
    code, document = _verify(skerry)
    assert code == 3
    assert "quality.final" in document["problems"][0]


def test_a_device_without_its_ledger_is_refused(skerry, run: Path) -> None:
    (run / "ledger" / "devices" / "writer-02.jsonl").unlink()
    code, document = _verify(skerry)
    assert code == 3
    assert "writer-02" in document["problems"][0]


def test_a_run_without_ledgers_is_bad_input(skerry, sample, tmp_path: Path) -> None:
    import shutil

    folder = sample.build(tmp_path, state="interrupted", rounds_done=0)
    shutil.rmtree(folder.path / "ledger")
    for command in ("show", "verify"):
        result = skerry("privacy", command, folder.path)
        assert result.exit_code == 2
        assert "no ledgers" in result.stderr
