"""Promises of the repository: any TUF client can follow it through rotations, and only keys change it."""

import shutil
from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError, UnsignedMetadataError
from tuf.api.metadata import TargetFile

from skerry.errors import InputError, RefusedError
from skerry.security.delivery.repository import Repository, RoleKeys
from skerry.security.delivery.repository.files import target_path

from ._repository import DAY_MS, Publisher, serving, stock_updater


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def fetch(publisher: Publisher, home: Path, path="digits/manifest.cbor") -> bytes:
    """What the stock client accepts, over HTTP."""
    with serving(publisher.folder) as (url, _):
        updater = stock_updater(url, home, publisher.anchor)
        info = updater.get_targetinfo(path)
        assert info is not None
        return Path(updater.download_target(info)).read_bytes()


def test_the_stock_client_follows_releases_renewals_and_rotations_of_every_role(publisher, tmp_path):
    home, repository = tmp_path / "client", publisher.repository
    repository.add("digits", {"manifest.cbor": b"one", "1/manifest.cbor": b"one"})
    assert fetch(publisher, home) == b"one"
    repository.add("digits", {"manifest.cbor": b"two", "2/manifest.cbor": b"two"})
    repository.add("sounds", {"manifest.cbor": b"sound"})
    assert fetch(publisher, home) == b"two"
    assert fetch(publisher, home, "digits/1/manifest.cbor") == b"one"
    for roles in (["timestamp"], ["snapshot"], ["targets"], ["digits"], ["root"], ["root", "targets", "sounds"]):
        repository.rotate(roles)
        assert fetch(publisher, home) == b"two"
    publisher.clock.offset_ms = 0
    repository.renew()
    assert fetch(publisher, home, "sounds/manifest.cbor") == b"sound"
    assert fetch(publisher, tmp_path / "new client") == b"two"


def test_a_rotated_key_signs_nothing_more(publisher, tmp_path):
    publisher.repository.add("digits", {"manifest.cbor": b"one"})
    thief = {path.name: path.read_bytes() for path in (tmp_path / "online").glob("*.pem")}
    publisher.repository.rotate(["digits"])
    with_old_key, newest = (publisher.folder / "metadata" / f"{n}.digits.json" for n in (2, 3))
    newest.write_bytes(with_old_key.read_bytes().replace(b'"version":2', b'"version":3'))
    with pytest.raises(UnsignedMetadataError):
        fetch(publisher, tmp_path / "client")
    assert not set(thief) <= {path.name for path in (tmp_path / "online").glob("*.pem")}


def test_a_model_key_signs_for_its_model_only(publisher, tmp_path):
    repository = publisher.repository
    for model in ("digits", "sounds"):
        repository.add(model, {"manifest.cbor": model.encode()})
    foreign = TargetFile.from_data("sounds/manifest.cbor", b"by the key of digits", ["sha256"])
    with repository.changing():  # what the holder of that key can sign
        repository._metadata["digits"].signed.targets[foreign.path] = foreign
        repository._publish({"digits": repository._metadata["digits"]})
    target_path(publisher.folder, foreign.path, foreign.hashes["sha256"]).write_bytes(b"by the key of digits")
    assert fetch(publisher, tmp_path / "client", "sounds/manifest.cbor") == b"sounds"


def test_metadata_expires_and_is_renewed_with_the_online_keys_alone(publisher, tmp_path):
    publisher.repository.add("digits", {"manifest.cbor": b"one"})
    publisher.clock.offset_ms = -2 * DAY_MS
    publisher.repository.renew()
    with pytest.raises(ExpiredMetadataError):
        fetch(publisher, tmp_path / "client")
    publisher.clock.offset_ms = 0
    (tmp_path / "offline").rename(tmp_path / "safe")
    publisher.repository.renew()
    assert fetch(publisher, tmp_path / "client") == b"one"


def test_renewing_says_what_is_due_and_cannot_be_done(publisher, tmp_path):
    publisher.repository.add("digits", {"manifest.cbor": b"one"})
    publisher.clock.offset_ms = 200 * DAY_MS
    (tmp_path / "offline").rename(tmp_path / "safe")
    said = {r.role: (r.renewed, r.due) for r in publisher.repository.renew()}
    assert said["root"] == said["targets"] == (False, True)
    assert said["digits"] == (True, False)
    (tmp_path / "safe").rename(tmp_path / "offline")
    said = {r.role: (r.renewed, r.due) for r in publisher.repository.renew()}
    assert said["root"] == said["targets"] == (True, False)
    assert Repository.open(publisher.folder, publisher.keys, publisher.clock)._root.version == 2


def test_the_root_is_changed_by_two_keys_of_three_and_by_no_fewer(publisher, tmp_path):
    roots = sorted((tmp_path / "offline").glob("root.*"))
    roots[0].unlink()
    publisher.repository.rotate(["timestamp"])
    roots[1].unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="needs 2 of its 3 keys; 1 are here"):
        publisher.repository.rotate(["timestamp"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_cannot_be_added_without_the_targets_key(publisher, tmp_path):
    (tmp_path / "offline").rename(tmp_path / "safe")
    with pytest.raises(InputError, match="signing for targets"):
        publisher.repository.add("digits", {"manifest.cbor": b"one"})
    assert publisher.repository.models == ()
    assert not list((tmp_path / "online").glob("digits*"))


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "..", "root", "Timestamp", "a*", "ä", "-a", "a" * 65])
def test_names_that_cannot_be_a_role_are_refused(publisher, name):
    with pytest.raises(InputError):
        publisher.repository.add(name, {"manifest.cbor": b""})


def test_a_publisher_that_is_killed_in_between_leaves_the_old_state(publisher, tmp_path, monkeypatch):
    publisher.repository.add("digits", {"manifest.cbor": b"one"})
    from skerry.security.delivery.repository import repository as module

    real = module.write_atomic

    def die(path, data, **kwargs):
        if path.name == "timestamp.json":
            raise KeyboardInterrupt
        real(path, data, **kwargs)

    monkeypatch.setattr(module, "write_atomic", die)
    with pytest.raises(KeyboardInterrupt):
        publisher.repository.add("digits", {"manifest.cbor": b"half"})
    assert fetch(publisher, tmp_path / "client") == b"one"
    monkeypatch.undo()
    assert publisher.repository.read_target("digits", "digits/manifest.cbor") == b"one"
    publisher.repository.add("digits", {"manifest.cbor": b"two"})
    assert fetch(publisher, tmp_path / "client") == b"two"


def test_a_rotation_that_lacks_a_key_changes_nothing(publisher, tmp_path):
    """With the medium of root at hand and not that of targets: no root may appear that makes devices wait for it."""
    repository = publisher.repository
    repository.add("digits", {"manifest.cbor": b"one"})
    for path in (tmp_path / "offline").glob("targets.*"):
        path.rename(tmp_path / path.name)

    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}

    before = everything()
    with pytest.raises(InputError, match="signing for targets"):
        repository.rotate(["digits", "snapshot", "timestamp"])
    assert everything() == before


@pytest.mark.parametrize(
    "roles", [["targets"], ["snapshot", "timestamp"], ["root"], ["targets", "digits", "snapshot", "timestamp"]]
)
def test_a_rotation_that_is_killed_before_any_write_is_mended_by_the_next_renewal(publisher, tmp_path, roles):
    """Root and timestamp are two files: devices may wait between them, and no longer than until ``renew``."""
    repository = publisher.repository
    repository.add("digits", {"manifest.cbor": b"one"})
    shutil.copytree(tmp_path, before := tmp_path.with_name(f"{tmp_path.name}-before"))
    real, killed = Repository._write, 0
    while True:
        writes = []

        def write(self, name, *args, killed=killed, writes=writes, **kwargs):
            if len(writes) == killed:
                raise KeyboardInterrupt
            writes.append(name)
            real(self, name, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Repository, "_write", write)
            try:
                repository.rotate(roles)
            except KeyboardInterrupt:
                pass
            else:
                break
        if "root" not in writes:
            assert fetch(publisher, tmp_path / f"between-{killed}") == b"one"
        assert not any(role.due for role in repository.renew())
        assert fetch(publisher, tmp_path / f"after-{killed}") == b"one"
        repository.rotate(roles)
        assert fetch(publisher, tmp_path / f"after-{killed}") == b"one"
        shutil.rmtree(tmp_path)
        shutil.copytree(before, tmp_path)
        killed += 1
    assert writes[-2:] == ["root", "timestamp"]


def test_offline_keys_are_encrypted_with_a_passphrase_and_no_other_opens_them(tmp_path):
    folders = tmp_path / "online", tmp_path / "offline"
    clock = Publisher(tmp_path / "other").clock
    Repository.create(tmp_path / "r", RoleKeys(*folders, passphrase=b"long enough"), clock)
    assert all(b"ENCRYPTED" in path.read_bytes() for path in folders[1].iterdir())
    for passphrase in (None, b"wrong"):
        with pytest.raises(InputError, match="cannot be opened"):
            Repository.open(tmp_path / "r", RoleKeys(*folders, passphrase=passphrase), clock).rotate(["timestamp"])
    Repository.open(tmp_path / "r", RoleKeys(*folders, passphrase=b"long enough"), clock).rotate(["timestamp"])


def test_a_key_file_that_others_may_read_is_refused(publisher, tmp_path):
    for path in (tmp_path / "online").glob("timestamp.*"):
        path.chmod(0o640)
    with pytest.raises(RefusedError) as caught:
        publisher.repository.renew()
    assert caught.value.reason == "open_key_file"


def test_a_folder_that_is_not_free_or_holds_no_repository_is_bad_input(publisher, tmp_path):
    with pytest.raises(InputError, match="not empty"):
        Repository.create(publisher.folder, publisher.keys, publisher.clock)
    with pytest.raises(InputError, match="no repository"):
        Repository.open(tmp_path / "online", publisher.keys, publisher.clock)
    (publisher.folder / "metadata" / "1.targets.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Repository.open(publisher.folder, publisher.keys, publisher.clock)
