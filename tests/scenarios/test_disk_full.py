"""A disk that fills up in a run: one message, nothing half-written, and with room again the run goes on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.config import default_scenario
from skerry.errors import DiskFullError, RunFailedError
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.verification import verify_ledger
from skerry.server import checkpoint
from skerry.server.checkpoint import Checkpoint, load_checkpoint
from skerry.server.launch import launch, resume

# A file system of its own, small and really full, in a mount namespace that ends with its process.
MOUNT = 'mount -t tmpfs -o size=280m none "$1" && exec "$2" -c "$3" "$1" "$4"'
RUN = """
import json, os, shutil, subprocess, sys, time
from pathlib import Path

disk, out = Path(sys.argv[1]), Path(sys.argv[2])
(disk / "scenario.toml").write_text("rounds = 5000\\n")
skerry = [sys.executable, "-m", "skerry.cli"]
command = [*skerry, "run", str(disk / "scenario.toml"), "--runs-dir", str(disk / "runs")]
run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
end = time.monotonic() + 180
while not list(disk.glob("runs/*/rounds.jsonl")) and run.poll() is None and time.monotonic() < end:
    time.sleep(0.05)
filler = disk / "filler"
try:
    with filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
except OSError:
    pass
stdout, stderr = run.communicate(timeout=180)
filler.unlink()
(folder,) = filter(Path.is_dir, (disk / "runs").iterdir())
shown = subprocess.run([*skerry, "runs", "show", str(folder), "--json"], capture_output=True, text=True)
told = {"code": run.returncode, "stdout": stdout, "stderr": stderr, "shown": shown.returncode, "said": shown.stdout}

def rounds():
    return (folder / "rounds.jsonl").read_bytes().count(b"\\n")

before = rounds()
command = [*skerry, "run", "--resume", "latest", "--runs-dir", str(disk / "runs")]
again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
while rounds() < before + 3 and again.poll() is None and time.monotonic() < end + 180:
    time.sleep(0.05)
again.terminate()
_, complaint = again.communicate(timeout=180)
told |= {"more": rounds() - before, "complaint": complaint}
shutil.copytree(disk / "runs", out)
print(json.dumps(told))
"""


SHORT = ["rounds=3", "training.epochs=1", "report.references=false"]


def may_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", str(folder)]
    return subprocess.run(tried, capture_output=True, check=False, timeout=180).returncode == 0


def test_a_disk_that_fills_up_ends_the_run_with_one_message_and_leaves_it_whole(tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "runs"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("this system lets no ordinary user mount a file system of its own")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-ec", MOUNT, "sh", str(disk), sys.executable, RUN, str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=720,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["code"] == 1, told
    assert "no space left on the device" in told["stderr"]
    assert "free some space" in told["stderr"]
    assert told["stderr"].count("╭─") == 1
    assert "Traceback" not in told["stderr"]
    (folder,) = list_runs(out)
    assert told["shown"] == 0, told
    assert json.loads(told["said"])["state"] in {"failed", "interrupted"}
    assert told["more"] >= 3, told["complaint"]
    rounds = folder.rounds()
    assert [record.round for record in rounds] == [*range(1, len(rounds) + 1)]
    assert load_checkpoint(folder).round >= rounds[-1].round
    ledgers = list((folder.path / "ledger").rglob("*.jsonl"))
    assert len(ledgers) == 12
    assert not any(verify_ledger(ledger, pld=False).problems for ledger in ledgers)
    assert not list(folder.path.rglob(".*")), "a temporary file was left behind"


def test_a_round_that_the_disk_did_not_take_is_made_again_from_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = default_scenario(SHORT)
    whole = launch(scenario, engine="inprocess", parent=tmp_path / "whole")
    real = checkpoint.save_checkpoint

    def full(folder: RunFolder, taken: Checkpoint) -> None:
        if taken.round == 2:
            raise DiskFullError("no space left on the device", where=str(folder.path))
        real(folder, taken)

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    with pytest.raises(RunFailedError, match="no space left"):
        launch(scenario, engine="inprocess", parent=tmp_path / "full")
    monkeypatch.setattr(checkpoint, "save_checkpoint", real)
    folder = resume("latest", parent=tmp_path / "full")
    assert [r.vector_digest for r in folder.rounds()] == [r.vector_digest for r in whole.rounds()]
    assert [r.dropped for r in folder.rounds()] == [r.dropped for r in whole.rounds()]
