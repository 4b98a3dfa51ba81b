"""``skerry privacy witness``: what was seen may only grow."""

import json
from pathlib import Path

from ._privacy import resign, rewrite, verify


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
    code, document = verify(skerry)
    assert code == 0
    assert len(document["witnessed"]) == 12

    shutil.rmtree(run / "ledger")
    shutil.copytree(older, run / "ledger")
    resign(run)
    again = skerry("privacy", "witness", "latest", "--json")
    assert again.exit_code == 3
    assert all(row["problem"] for row in json.loads(again.stdout)["ledgers"])
    code, document = verify(skerry)
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
    code, document = verify(skerry)
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
    rewrite(run / "ledger" / "population.jsonl", lambda kind, body: body)
    resign(run)
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
