"""``skerry release``: what was published can be checked by anybody and opened by recipients only."""

import json
import shutil
from pathlib import Path


def test_list_and_verify(skerry, run: Path) -> None:
    releases = json.loads(skerry("release", "list", "--json").stdout)["releases"]
    assert [(r["run"], r["version"], r["problem"]) for r in releases] == [(run.name, 1, None)]
    document = json.loads(skerry("release", "verify", run.name, "--json").stdout)
    assert document["ok"] is True
    assert len(document["recipients"]) == 9
    shown = skerry("release", "verify", run.name).stdout
    assert "coordinator: holds" in shown
    assert document["digest"] in shown


def test_a_release_folder_needs_a_publisher_to_be_checked_against(skerry, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(run / "release", elsewhere)
    nobody = skerry("release", "verify", elsewhere)
    assert nobody.exit_code == 2
    assert "--publisher" in nobody.stderr
    public = run / "fleet" / "coordinator.public.json"
    assert skerry("release", "verify", elsewhere, "--publisher", public).exit_code == 0
    assert skerry("release", "verify", run / "release").exit_code == 0


def test_an_altered_blob_is_refused(skerry, run: Path) -> None:
    blob = max((run / "release" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    result = skerry("release", "verify", run.name, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["reason"] == "blob_altered"
    assert skerry("release", "list").exit_code == 0
    assert json.loads(skerry("release", "list", "--json").stdout)["releases"][0]["problem"]


def test_a_recipient_gets_the_very_files_and_nobody_else_any(skerry, run: Path, tmp_path: Path) -> None:
    to = tmp_path / "installed"
    document = json.loads(skerry("release", "fetch", run.name, "--device", "writer-00", "--to", to, "--json").stdout)
    for name, path in document["files"].items():
        assert Path(path).read_bytes() == (run / "model" / name).read_bytes()
    refused = skerry("release", "fetch", run.name, "--device", "writer-04", "--to", tmp_path / "other")
    assert refused.exit_code == 3
    assert not (tmp_path / "other").exists()


def test_an_unknown_device_is_bad_input_and_no_path(skerry, run: Path, tmp_path: Path) -> None:
    for device in ("writer-99", "../fleet/writer-00", "."):
        result = skerry("release", "fetch", run.name, "--device", device, "--to", tmp_path / "x")
        assert result.exit_code == 2
        assert "writer-00" in result.stderr


def test_a_run_without_release_is_bad_input(skerry, run: Path) -> None:
    shutil.rmtree(run / "release")
    assert skerry("release", "verify", run.name).exit_code == 2
    assert json.loads(skerry("release", "list", "--json").stdout)["releases"] == []
