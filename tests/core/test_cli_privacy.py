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


def _rewrite(path: Path, change) -> None:
    """A chain whose hashes fit, written by somebody who knows the format."""
    from skerry.security.privacy.chain import GENESIS, entry, line, walk

    prev, lines = GENESIS, []
    for old in walk(path.read_bytes()):
        made = entry(old.seq, prev, old.kind, old.at, change(old.kind, json.loads(json.dumps(old.body))))
        prev = made.hash
        lines.append(line(made))
    path.write_bytes(b"".join(lines))


def test_a_device_ledger_written_anew_contradicts_its_receipts_leaf_by_leaf(skerry, run: Path) -> None:
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    (run / "result.json").unlink()
    _rewrite(path, lambda kind, body: body)  # the very same events, under other salts
    code, document = _verify(skerry)
    assert code == 3
    assert {failure["ledger"] for failure in document["failures"]} == {"writer-05"}
    assert len(document["failures"]) == 20
    assert all(failure["leaf"] for failure in document["failures"])
    assert document["failures"][0]["leaf"][:12] in skerry("privacy", "verify", "latest").stdout


def test_a_population_ledger_written_anew_is_not_under_the_signed_checkpoint(skerry, run: Path) -> None:
    (run / "result.json").unlink()
    _rewrite(run / "ledger" / "population.jsonl", lambda kind, body: body)
    code, document = _verify(skerry)
    assert code == 3
    assert "does not extend the checkpoint" in document["failures"][0]["what"]


def _resign(run: Path) -> None:
    """What a coordinator does who lies: it has the key."""
    from skerry.security.identity import Identity
    from skerry.security.privacy.verification import read_entries, tree_of, verify_ledger
    from skerry.security.transparency.note import NoteSigner
    from skerry.security.transparency.publisher import Publisher

    population = run / "ledger" / "population.jsonl"
    state = verify_ledger(population, pld=False).checkpoint
    signer = NoteSigner(state.origin, Identity.load(run / "fleet" / "coordinator.json").signing)
    Publisher(run / "ledger" / "published").publish(tree_of(read_entries(population)[0]), state, signer)


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
        ("release", lambda body: body["accepted"].append("x"), "without a receipt"),
    ],
)
def test_a_coordinator_cannot_make_up_or_lose_what_devices_gave_it(skerry, run: Path, kind, change, said) -> None:
    def lie(of: str, body: dict) -> dict:
        if of == kind:
            change(body)
        return body

    (run / "result.json").unlink()
    _rewrite(run / "ledger" / "population.jsonl", lie)
    _resign(run)
    code, document = _verify(skerry)
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
    assert _verify(skerry)[0] == 0
    note = path.read_text()
    changed = change(note)
    assert changed != note
    path.unlink() if changed is None else path.write_text(changed)
    code, document = _verify(skerry)
    assert code == 3
    assert document["failures"][0]["ledger"] == "population"


def test_a_device_that_was_forgotten_leaves_proofs_that_hold(skerry, run: Path) -> None:
    population = run / "ledger" / "population.jsonl"
    before = json.loads(skerry("privacy", "show", "latest", "--json").stdout)["devices"]
    assert skerry("privacy", "witness", "latest").exit_code == 0
    assert skerry("privacy", "forget", "latest", "writer-05", "--json").exit_code == 2  # nobody said yes
    assert b"writer-05" in population.read_bytes()
    done = json.loads(skerry("privacy", "forget", "latest", "writer-05", "--yes", "--json").stdout)
    assert b"writer-05" not in population.read_bytes()
    assert "ledger/devices/writer-05.jsonl" in done["still_named_in"]
    assert "result.json" in done["still_named_in"]
    assert not any(name.startswith("ledger/p") for name in done["still_named_in"])
    assert _verify(skerry)[0] == 0
    assert skerry("privacy", "witness", "latest").exit_code == 0
    assert json.loads(skerry("privacy", "show", "latest", "--json").stdout)["devices"] == before  # nothing comes back
    again = skerry("privacy", "forget", "latest", "writer-05", "--yes")
    assert again.exit_code == 2
    assert "names no device" in again.stderr


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


def test_a_witness_that_saw_the_run_finds_that_all_of_it_was_rolled_back(skerry, run: Path) -> None:
    import shutil

    (run / "result.json").unlink()
    older = run.parent.parent / "older"
    shutil.copytree(run / "ledger", older)
    for path in [*(older / "devices").glob("*.jsonl"), older / "population.jsonl"]:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: 2 + 10 * (2 if path.stem == "population" else 1)]))
    first = json.loads(skerry("privacy", "witness", "latest", "--json").stdout)
    assert first["ok"] is True
    assert {row["before"] for row in first["ledgers"]} == {None}
    assert next(row for row in first["ledgers"] if row["ledger"] == "population")["signed"] is True
    assert skerry("privacy", "witness", "latest").exit_code == 0
    code, document = _verify(skerry)
    assert code == 0
    assert len(document["witnessed"]) == 12

    shutil.rmtree(run / "ledger")
    shutil.copytree(older, run / "ledger")
    _resign(run)
    again = skerry("privacy", "witness", "latest", "--json")
    assert again.exit_code == 3
    assert all(row["problem"] for row in json.loads(again.stdout)["ledgers"])
    code, document = _verify(skerry)
    assert code == 3
    assert all("does not extend the checkpoint" in failure["what"] for failure in document["failures"])
    elsewhere = run.parent / "nobody"
    assert skerry("privacy", "verify", "latest", "--memory", elsewhere).exit_code == 0  # nobody else can tell


def test_a_ledger_that_a_witness_saw_may_not_vanish(skerry, run: Path) -> None:
    skerry("privacy", "witness", "latest")
    (run / "ledger" / "population.jsonl").unlink()
    result = skerry("privacy", "witness", "latest")
    assert result.exit_code == 3
    assert "is gone" in result.stdout
    code, document = _verify(skerry)
    assert code == 3
    assert any("is gone" in problem for problem in document["problems"])


def test_a_witness_takes_nothing_that_was_not_signed_or_does_not_hold(skerry, run: Path) -> None:
    note = run / "ledger" / "published" / "checkpoint"
    note.write_text(note.read_text().replace("\n72\n", "\n73\n"))
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":7', b'"round":8', 1))
    result = skerry("privacy", "witness", "latest", "--json")
    assert result.exit_code == 3
    rows = {row["ledger"]: row["problem"] for row in json.loads(result.stdout)["ledgers"]}
    assert {name for name, problem in rows.items() if problem} == {"population", "writer-05"}


def test_a_published_log_is_witnessed_without_its_entries(skerry, run: Path, tmp_path: Path) -> None:
    import shutil

    key = json.loads(skerry("privacy", "witness", "latest", "--memory", tmp_path / "m", "--json").stdout)["key"]
    copy = tmp_path / "copy"
    shutil.copytree(run / "ledger" / "published", copy)
    assert not any(b"writer" in path.read_bytes() for path in copy.rglob("*") if path.is_file())
    for before in (None, 72):
        document = json.loads(skerry("privacy", "witness", copy, "--key", key, "--json").stdout)
        assert document["ledgers"] == [
            {"ledger": "population", "before": before, "now": 72, "signed": True, "problem": None}
        ]
    (run / "result.json").unlink()
    _rewrite(run / "ledger" / "population.jsonl", lambda kind, body: body)
    _resign(run)
    result = skerry("privacy", "witness", run / "ledger" / "published", "--key", key)
    assert result.exit_code == 3
    assert "not the ones that were there before" in result.stdout
    assert skerry("privacy", "witness", "latest").exit_code == 3  # the same memory

    tile = copy / "tile" / "0" / "000.p" / "72"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert skerry("privacy", "witness", copy, "--key", key, "--memory", tmp_path / "n").exit_code == 3
    other = key.replace("+", "x+", 1)
    assert skerry("privacy", "witness", copy, "--key", other).exit_code == 2
    assert skerry("privacy", "witness", tmp_path, "--key", key).exit_code == 2


def test_published_tiles_must_be_those_of_the_checkpoint(skerry, run: Path) -> None:
    tile = run / "ledger" / "published" / "tile" / "0" / "000.p" / "72"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    code, document = _verify(skerry)
    assert code == 3
    assert "published tiles" in document["failures"][0]["what"]


@pytest.mark.parametrize("change", [{"delta": 1e-6}, {"unit": "device"}])
def test_a_result_that_claims_another_promise_than_the_ledgers_is_refused(skerry, run: Path, change) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"].update(change)
    (run / "result.json").write_text(json.dumps(result))
    code, document = _verify(skerry)
    assert code == 3
    assert any("a ledger promises something else" in problem for problem in document["problems"])


def test_the_figure_of_the_whole_run_is_held_against_the_ledgers(skerry, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["epsilon_rdp"] = 4.0
    (run / "result.json").write_text(json.dumps(result))
    code, document = _verify(skerry)
    assert code == 3
    assert "it says ε = 4 of the run" in document["problems"][0]


@pytest.mark.parametrize("name", ["population", "writer-05"])
def test_any_entry_is_proved_to_others_by_what_was_signed(skerry, run: Path, name: str) -> None:
    """Checked here by another implementation of the path, from the document alone."""
    from pymerkle import verify_inclusion
    from pymerkle.proof import InclusionProof

    from skerry.runfolder import RunFolder
    from skerry.security.privacy.receipt import Receipt, SignedReceipt
    from skerry.security.privacy.verification import read_entries
    from skerry.security.transparency import Checkpoint, NoteKey, leaf_hash
    from skerry.server.provision import coordinator_public, device_directory

    folder = RunFolder(run)
    path = run / "ledger" / (f"{name}.jsonl" if name == "population" else f"devices/{name}.jsonl")
    for entry in read_entries(path)[0][::7]:
        proved = json.loads(skerry("privacy", "prove", "latest", entry.hash[:16], "--json").stdout)
        assert proved["entry"]["body"] == entry.body
        assert leaf_hash(bytes.fromhex(proved["leaf"])).hex() == entry.hash
        if name == "population":
            key = NoteKey(proved["signer"], coordinator_public(folder).signing_key)
            state = Checkpoint.open(proved["signed"]["checkpoint"], [key], origin=proved["signer"])
            assert (state.size, state.root.hex()) == (proved["size"], proved["root"])
        else:
            said = proved["signed"]["receipt"]
            proof = said.pop("body"), said.pop("signature")
            SignedReceipt(Receipt(**said), *proof).check_signed(device_directory(folder).get(name))
            assert (said["size"], said["root"]) == (proved["size"], proved["root"])
        rule = _sides(entry.seq, proved["size"])
        theirs = [bytes.fromhex(step) for step in (entry.hash, *proved["path"])]
        proof = InclusionProof("sha256", True, proved["size"], entry.seq + 1, rule, theirs)
        verify_inclusion(theirs[0], bytes.fromhex(proved["root"]), proof, index=entry.seq + 1, size=proved["size"])
    assert "by a path of" in skerry("privacy", "prove", "latest", entry.hash).stdout


def _sides(index: int, size: int) -> list[int]:
    """On which side each step of an RFC 9162 path stands, in pymerkle's words: 1 is left of what was hashed so far."""
    sides: list[int] = []
    first = 0
    while size > 1:
        half = 1 << ((size - 1).bit_length() - 1)
        left = index - first < half
        sides.append(0 if left else 1)
        first, size = (first, half) if left else (first + half, size - half)
    return [*sides[::-1], 0]


def test_what_cannot_be_proved_is_said(skerry, run: Path) -> None:
    assert skerry("privacy", "prove", "latest", "xyz").exit_code == 2
    assert skerry("privacy", "prove", "latest", "ab" * 32).exit_code == 2
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    before, changed, after = (json.loads(path.read_bytes().splitlines()[i])["hash"] for i in (5, 7, 9))
    path.write_bytes(path.read_bytes().replace(b'"round":7', b'"round":8', 1))
    assert skerry("privacy", "prove", "latest", before).exit_code == 0  # what came before is still what was signed
    assert skerry("privacy", "prove", "latest", changed).exit_code == 3
    assert skerry("privacy", "prove", "latest", after).exit_code == 3


def test_nothing_is_proved_by_a_receipt_that_nobody_signed(skerry, run: Path) -> None:
    def lie(kind: str, body: dict) -> dict:
        if kind == "receipts":
            for receipt in body["receipts"].values():
                receipt["signature"] = receipt["signature"][::-1]
        return body

    leaf = json.loads((run / "ledger" / "devices" / "writer-05.jsonl").read_bytes().splitlines()[3])["hash"]
    assert skerry("privacy", "prove", "latest", leaf).exit_code == 0
    _rewrite(run / "ledger" / "population.jsonl", lie)
    assert skerry("privacy", "prove", "latest", leaf).exit_code == 3


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
    _resign(run)
    code, document = _verify(skerry)
    assert code == 3
    assert sum("without a receipt" in failure["what"] for failure in document["failures"]) == 20


def test_without_the_keys_nothing_is_proved(skerry, run: Path) -> None:
    (run / "fleet" / "devices.public.json").unlink()
    code, document = _verify(skerry)
    assert code == 3
    assert any("no receipt can be checked" in failure["what"] for failure in document["failures"])
    (run / "fleet" / "coordinator.public.json").write_text("{")
    code, document = _verify(skerry)
    assert code == 3
    assert "coordinator's key" in document["failures"][0]["what"]
    assert skerry("privacy", "witness", "latest").exit_code == 3


def test_a_run_that_was_killed_while_its_fleet_was_made_verifies(skerry, run: Path) -> None:
    import shutil

    for gone in ("result.json", "ledger/population.jsonl", "fleet/devices.public.json"):
        (run / gone).unlink()
    shutil.rmtree(run / "ledger" / "published")
    code, document = _verify(skerry)
    assert code == 0
    assert len(document["ledgers"]) == 11
