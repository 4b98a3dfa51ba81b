"""``skerry privacy``: figures come from the ledgers, and no change to a ledger goes unnoticed."""

import json
from pathlib import Path

import pytest

from skerry.records import Action, Verdict
from skerry.runfolder import RunFolder
from skerry.server.device_statements import enter_devices, log_names
from skerry.server.registry import JudgedRound, Registry, scope_of
from tests.server._enrolment import NOW, Agent, Federation

from ._privacy import resign, rewrite, verify


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
    code, document = verify(skerry)
    assert code == 0
    assert document["ok"] is True
    assert len(document["ledgers"]) == 12
    for ledger in document["ledgers"][1:]:
        assert ledger["epsilon_pld"] < ledger["epsilon_rdp"]
    assert skerry("privacy", "verify", "latest").exit_code == 0


def test_one_changed_byte_is_refused(skerry, run: Path) -> None:
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":7', b'"round":8', 1))
    code, document = verify(skerry)
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
    code, document = verify(skerry)
    assert code == 3
    assert [ledger["subject"] for ledger in document["ledgers"] if ledger["problems"]] == ["writer-07"]


def test_a_result_that_claims_less_than_the_ledger_is_refused(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["devices"]["per_device"]["writer-00"]["epsilon_rdp"] = 1.0
    (run / "result.json").write_text(json.dumps(result))
    code, document = verify(skerry)
    assert code == 3
    assert "writer-00" in document["problems"][0]


def test_evidence_must_name_an_entry_that_exists(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["evidence"]["quality.final"]["leaf"] = "ab" * 32
    (run / "result.json").write_text(json.dumps(result))
    code, document = verify(skerry)
    assert code == 3
    assert "quality.final" in document["problems"][0]


def test_a_device_without_its_ledger_is_refused(skerry, run: Path) -> None:
    (run / "ledger" / "devices" / "writer-02.jsonl").unlink()
    code, document = verify(skerry)
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


def test_a_device_ledger_written_anew_contradicts_its_receipts_leaf_by_leaf(skerry, run: Path) -> None:
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    (run / "result.json").unlink()
    rewrite(path, lambda kind, body: body)  # the very same events, under other salts
    code, document = verify(skerry)
    assert code == 3
    assert {failure["ledger"] for failure in document["failures"]} == {"writer-05"}
    assert len(document["failures"]) == 20
    assert all(failure["leaf"] for failure in document["failures"])
    assert document["failures"][0]["leaf"][:12] in skerry("privacy", "verify", "latest").stdout


def test_a_population_ledger_written_anew_is_not_under_the_signed_checkpoint(skerry, run: Path) -> None:
    (run / "result.json").unlink()
    rewrite(run / "ledger" / "population.jsonl", lambda kind, body: body)
    code, document = verify(skerry)
    assert code == 3
    assert "does not extend the checkpoint" in document["failures"][0]["what"]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("receipts", lambda body: body["receipts"]["3"].update(leaf="ab" * 32), "signature"),
        ("receipts", lambda body: body["receipts"]["3"].update(root=body["receipts"]["4"]["root"]), "signature"),
        ("receipts", lambda body: body["receipts"].pop("3"), "without a receipt (members [3])"),
        ("receipts", lambda body: body.update(receipts=7), "does not write"),
        ("member", lambda body: body.update(signing_key="00" * 32), "another key"),
        ("round_open", lambda body: body.update(round=body["round"] + 100), "never opened"),
        ("round_open", lambda body: body["cohort"].remove(3), "who was not asked"),
        ("round_open", lambda body: body["price"].update(noise_multiplier=9.0), "not the price"),
        ("round_open", lambda body: body.update(price=None), "not the price"),
        ("round_open", lambda body: body["mechanism"].update(separation=2), "fewer than 2 rounds after"),
        ("round_open", lambda body: body["mechanism"].update(separation=body["round"]), "than the first one"),
        ("release", lambda body: body["accepted"].append("x"), "without a receipt"),
        ("release", lambda body: body["accepted"].append(body["accepted"][0]), "more than once"),
    ],
)
def test_a_coordinator_cannot_make_up_or_lose_what_devices_gave_it(skerry, run: Path, kind, change, said) -> None:
    def lie(of: str, body: dict) -> dict:
        if of == kind:
            change(body)
        return body

    (run / "result.json").unlink()
    rewrite(run / "ledger" / "population.jsonl", lie)
    resign(run)
    code, document = verify(skerry)
    assert code == 3
    assert any(said in failure["what"] for failure in document["failures"])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n72\n", "\n71\n"),
        lambda note: note.replace("population", "popularity"),
        lambda note: "",
        lambda note: None,
    ],
)
def test_a_checkpoint_that_is_forged_or_gone_is_a_failure(skerry, run: Path, change) -> None:
    path = run / "ledger" / "published" / "checkpoint"
    assert verify(skerry)[0] == 0
    note = path.read_text()
    changed = change(note)
    assert changed != note
    path.unlink() if changed is None else path.write_text(changed)
    code, document = verify(skerry)
    assert code == 3
    assert document["failures"][0]["ledger"] == "population"


def test_a_device_that_was_forgotten_leaves_proofs_that_hold(skerry, run: Path) -> None:
    population = run / "ledger" / "population.jsonl"
    before = json.loads(skerry("privacy", "show", "latest", "--json").stdout)["devices"]
    assert skerry("privacy", "witness", "latest").exit_code == 0
    registry = Registry(run.parent)
    scope = scope_of(RunFolder(run).scenario)
    registry.record(scope, run.name, [JudgedRound(1, 0, (Verdict(1, "writer-05", Action.ACCEPT, (), ()),))])
    assert skerry("privacy", "forget", "latest", "writer-05", "--json").exit_code == 2  # nobody said yes
    assert b"writer-05" in population.read_bytes()
    assert registry.find("writer-05")
    done = json.loads(skerry("privacy", "forget", "latest", "writer-05", "--yes", "--json").stdout)
    assert b"writer-05" not in population.read_bytes()
    assert b"writer-05" not in b"".join(path.read_bytes() for path in run.parent.glob("registry*"))
    assert registry.standing(registry.find(done["alias"]), 0, 30.0).judged == 1
    assert "ledger/devices/writer-05.jsonl" in done["still_named_in"]
    assert "result.json" in done["still_named_in"]
    assert not any(name.startswith("ledger/p") for name in done["still_named_in"])
    assert verify(skerry)[0] == 0
    assert skerry("privacy", "witness", "latest").exit_code == 0
    assert json.loads(skerry("privacy", "show", "latest", "--json").stdout)["devices"] == before  # nothing comes back
    again = skerry("privacy", "forget", "latest", "writer-05", "--yes")
    assert again.exit_code == 2
    assert "names no device" in again.stderr


def test_forgetting_in_a_run_tells_of_an_enrolment_in_the_log_until_the_fleet_forgets_it(skerry, run: Path) -> None:
    federation = Federation(run.parent)
    federation.enrol(Agent.fresh("writer-05"))
    assert enter_devices(run.parent, NOW) == 1
    done = skerry("privacy", "forget", "latest", "writer-05", "--yes")
    assert "`skerry fleet forget writer-05` erases it there" in done.stderr
    assert log_names(run.parent, "writer-05")
    assert skerry("fleet", "revoke", "writer-05", "--reason", "gone").exit_code == 0
    assert skerry("fleet", "forget", "writer-05", "--yes").exit_code == 0
    assert not log_names(run.parent, "writer-05")
    assert b"writer-05" not in (run.parent / "log" / "log.jsonl").read_bytes()
    assert not json.loads(skerry("privacy", "forget", "latest", "writer-04", "--yes", "--json").stdout)["log_names_it"]


def test_show_foretells_when_a_budget_is_used_up(skerry, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="interrupted", rounds_done=5)
    plot = tmp_path / "spent.svg"
    shown = json.loads(skerry("privacy", "show", folder.path, "--plot", plot, "--json").stdout)
    assert {device["rounds_left"] for device in shown["devices"]} == {15}  # twenty were calibrated
    assert shown["population"] == {
        "rounds_opened": 5,
        "rounds_released": 5,
        "epsilon_rdp_most": max(device["epsilon_rdp"] for device in shown["devices"]),
        "epsilon_budget": None,
        "epsilon_left_least": min(device["epsilon_left"] for device in shown["devices"]),
        "rounds_left_least": 15,
        "devices_used_up": 0,
    }
    drawn = plot.read_text()
    assert drawn.startswith("<svg")
    assert "budget 8" in drawn
    assert "11 devices" in drawn
    text = skerry("privacy", "show", folder.path).stdout
    assert "at this pace" in text
    assert "0 of 11 devices used up" in text


def test_published_tiles_must_be_those_of_the_checkpoint(skerry, run: Path) -> None:
    tile = run / "ledger" / "published" / "tile" / "0" / "000.p" / "72"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    code, document = verify(skerry)
    assert code == 3
    assert "published tiles" in document["failures"][0]["what"]


@pytest.mark.parametrize("change", [{"delta": 1e-6}, {"unit": "device"}])
def test_a_result_that_claims_another_promise_than_the_ledgers_is_refused(skerry, run: Path, change) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"].update(change)
    (run / "result.json").write_text(json.dumps(result))
    code, document = verify(skerry)
    assert code == 3
    assert any("a ledger promises something else" in problem for problem in document["problems"])


def test_a_result_that_says_another_separation_than_the_rounds_is_refused(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["min_separation"] = 2
    (run / "result.json").write_text(json.dumps(result))
    code, document = verify(skerry)
    assert code == 3
    assert any("rounds 2 apart of a device, the ledger 1" in problem for problem in document["problems"])


def test_the_figure_of_the_whole_run_is_held_against_the_ledgers(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["epsilon_rdp"] = 4.0
    (run / "result.json").write_text(json.dumps(result))
    code, document = verify(skerry)
    assert code == 3
    assert "it says ε = 4 of the run" in document["problems"][0]


def test_a_ledger_that_lost_all_its_receipts_is_found(skerry, run: Path) -> None:
    from skerry.security.privacy.chain import GENESIS, entry, line, walk

    population, prev, lines = run / "ledger" / "population.jsonl", GENESIS, []
    for old in walk(population.read_bytes()):
        if old.kind != "receipts":
            made = entry(len(lines), prev, old.kind, old.at, old.body)
            prev = made.hash
            lines.append(line(made))
    population.write_bytes(b"".join(lines))
    (run / "result.json").unlink()
    resign(run)
    code, document = verify(skerry)
    assert code == 3
    assert sum("without a receipt" in failure["what"] for failure in document["failures"]) == 20


def test_without_the_keys_nothing_is_proved(skerry, run: Path) -> None:
    (run / "fleet" / "devices.public.json").unlink()
    code, document = verify(skerry)
    assert code == 3
    assert any("no receipt can be checked" in failure["what"] for failure in document["failures"])
    (run / "fleet" / "coordinator.public.json").write_text("{")
    code, document = verify(skerry)
    assert code == 3
    assert "coordinator's key" in document["failures"][0]["what"]
    assert skerry("privacy", "witness", "latest").exit_code == 3


def test_a_run_that_was_killed_while_its_fleet_was_made_verifies(skerry, run: Path) -> None:
    import shutil

    for gone in ("result.json", "ledger/population.jsonl", "fleet/devices.public.json"):
        (run / gone).unlink()
    shutil.rmtree(run / "ledger" / "published")
    code, document = verify(skerry)
    assert code == 0
    assert len(document["ledgers"]) == 11
