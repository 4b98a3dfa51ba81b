"""``skerry server backup`` and ``restore``: the drill that an operator does before it is needed."""

import json
import shutil
from pathlib import Path

from skerry.clock import system_clock
from skerry.security.privacy.verification import verify_ledger
from skerry.server import sealed_archive
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import federation_log
from skerry.server.run_statements import enter_release
from tests.sample_run import build


def _files(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (one for one in folder.rglob("*") if one.is_file() and not one.name.endswith((".lock", "-wal", "-shm")))
    return {one.relative_to(folder).as_posix(): (one.read_bytes(), one.stat().st_mode & 0o777) for one in found}


def test_backed_up_wiped_and_restored_everything_verifies(skerry, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SKERRY_BACKUP_PASSPHRASE", "correct horse battery")
    runs, kept = tmp_path / "runs", tmp_path / "federation.skerry"
    run = build(runs, ("rounds=3",))
    build(runs, ("rounds=3", "name=under-way"), state="running", rounds_done=1)
    FederationHome(runs).authority(now=system_clock())
    federation_log(runs)
    assert enter_release(runs, "digits", 1, "ab" * 32, system_clock()) is None
    (runs / "notes.txt").write_text("buy milk")
    before = {name: _files(runs / name) for name in (run.id, "federation", "log")}
    assert all(before.values())
    made = skerry("server", "backup", str(kept), "--runs-dir", str(runs), "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["runs"] == [run.id]
    assert [name.startswith("under-way-") for name in told["under_way"]] == [True]
    assert told["unknown"] == ["notes.txt"]
    assert kept.stat().st_mode & 0o777 == 0o600

    shutil.rmtree(runs)
    back = skerry("server", "restore", str(kept), "--runs-dir", str(runs), "--json")
    assert back.exit_code == 0, back.output
    assert {name: _files(runs / name) for name in before} == before
    verified = skerry("privacy", "verify", run.id, "--runs-dir", str(runs), "--json")
    assert verified.exit_code == 0, verified.output
    assert not any(verify_ledger(path).problems for path in (run.path / "ledger" / "devices").glob("*.jsonl"))
    entries = federation_log(runs, create=False).entries()
    assert [entry.body["version"] for entry in entries if "version" in entry.body] == [1]
    assert skerry("fleet", "list", "--runs-dir", str(runs)).exit_code == 0


def test_a_key_file_counts_without_the_line_end_that_an_editor_adds(skerry, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sealed_archive, "_COST", 1 << 4)
    runs, kept, key = tmp_path / "runs", tmp_path / "federation.skerry", tmp_path / "key"
    build(runs, ("rounds=1",))
    key.write_bytes(b"correct horse battery\n")
    key.chmod(0o644)
    refused = skerry("server", "backup", str(kept), "--runs-dir", str(runs), "--key-file", str(key))
    assert refused.exit_code == 3
    assert f"chmod 600 {key}" in " ".join(refused.stderr.split())
    assert "backup" in refused.stderr
    key.chmod(0o600)
    made = skerry("server", "backup", str(kept), "--runs-dir", str(runs), "--key-file", str(key))
    assert made.exit_code == 0, made.output
    monkeypatch.setenv("SKERRY_BACKUP_PASSPHRASE", "correct horse battery")
    assert skerry("server", "restore", str(kept), "--check").exit_code == 0


def test_restoring_says_what_to_repeat(skerry, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sealed_archive, "_COST", 1 << 4)
    monkeypatch.setenv("SKERRY_BACKUP_PASSPHRASE", "correct horse battery")
    runs, kept = tmp_path / "runs", tmp_path / "federation.skerry"
    build(runs, ("rounds=1",))
    now = system_clock()
    authority = FederationHome(runs).authority(now=now)
    Office(runs).invite(authority, device_class="phone", life=86_400_000, by="me", now=now)
    assert skerry("server", "backup", str(kept), "--runs-dir", str(runs)).exit_code == 0
    told = skerry("server", "restore", str(kept), "--runs-dir", str(tmp_path / "a"))
    assert told.exit_code == 0, told.output
    for word in ("revoke", "erase again", "have ended (1)", "witnesses"):
        assert word in told.stdout
    again = json.loads(skerry("server", "restore", str(kept), "--runs-dir", str(tmp_path / "b"), "--json").stdout)
    assert again["ended_invites"] == 1
    assert len(again["repeat"]) == 5
