"""What the gateway serves of a base is the base, also after the disk has lost or changed some of it."""

import json
from pathlib import Path

import pytest

from skerry.device.store import MANIFEST, model_store, read_manifest
from skerry.errors import RefusedError
from skerry.runfolder import RunFolder
from skerry.server import bases
from skerry.server.bases import share_base


@pytest.fixture
def digest(prepared_run: RunFolder) -> str:
    return json.loads((prepared_run.path / "model" / "base.json").read_text())["digest"]


def whole(store: Path, digest: str) -> dict[str, bytes]:
    """Every file, each as its digest says."""
    found = read_manifest(digest, store)
    return {name: found.read(name) for name in found.facts["files"]}


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b""), Path.unlink], ids=["empty", "gone"])
def test_a_file_that_is_not_what_its_manifest_names_is_put_right(
    prepared_run: RunFolder, tmp_path: Path, digest: str, harm
) -> None:
    share_base(prepared_run, tmp_path)
    shared = tmp_path / "bases" / digest
    assert whole(tmp_path / "bases", digest) == whole(model_store(), digest)
    for name in [*whole(model_store(), digest), MANIFEST]:
        harm(shared / name)
        share_base(prepared_run, tmp_path)
        assert whole(tmp_path / "bases", digest) == whole(model_store(), digest)


def test_devices_see_no_manifest_before_the_files_and_all_is_on_stable_storage(
    prepared_run: RunFolder, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, bool]] = []

    def write(path: Path, data: bytes, *, durable: bool = True) -> None:
        written.append((path.name, durable))

    monkeypatch.setattr(bases, "write_atomic", write)
    monkeypatch.setattr(bases, "sync_folder", lambda folder: written.append((folder.name, True)))
    share_base(prepared_run, tmp_path)
    assert [name for name, _ in written][-2:] == [MANIFEST, "bases"]
    assert {name for name, _ in written[:-1]} == {*whole(model_store(), digest), MANIFEST}
    assert all(durable for _, durable in written)


def test_a_damaged_base_is_not_handed_on(prepared_run, tmp_path: Path, digest: str, monkeypatch) -> None:
    share_base(prepared_run, tmp_path / "good")
    store = tmp_path / "good" / "bases"
    name = next(iter(whole(store, digest)))
    (store / digest / name).write_bytes(b"other")
    monkeypatch.setattr(bases, "model_store", lambda: store)
    monkeypatch.setattr(bases, "read_manifest", lambda digest: read_manifest(digest, store))
    with pytest.raises(RefusedError):
        share_base(prepared_run, tmp_path / "repository")
    assert not (tmp_path / "repository" / "bases" / digest / MANIFEST).exists()
