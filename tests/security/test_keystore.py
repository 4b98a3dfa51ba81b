"""Key stores: what opens them, what does not, and what is gone when an epoch is over. Every backend is the real one."""

import os
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import InputError, RefusedError
from skerry.security.hpke import KemSuite
from skerry.security.identity import KeyStoreRefusal, KeyStoreRefusedError, PassphraseLock, SealedKeyStore, backend_of
from skerry.security.identity.kernel_keyring import KernelKeyring, KeyringLock

NOW, DAY = 1_764_000_000_000, 86_400_000
WORDS = b"correct horse battery"


def refused(reason: KeyStoreRefusal):
    return pytest.raises(KeyStoreRefusedError, check=lambda error: error.reason == reason.value)


@pytest.fixture
def kernel():
    """This user's keyring and a name in it that is dropped again."""
    keyring, name = KernelKeyring(), f"skerry:test-{os.getpid()}"
    try:
        keyring.put(name, b"probe", 60)
        reachable = keyring.get(name) == b"probe"
    except KeyStoreRefusedError as error:
        pytest.skip(f"no kernel keyring here: {error.what}")
    if not reachable:
        pytest.skip("this kernel does not give a process its user's keys back")
    keyring.drop(name)
    yield keyring
    keyring.drop(name)


@pytest.fixture(params=["file", "keyring"])
def lock(request):
    """Makes a lock for the same store; without a passphrase where the backend can do without."""
    if request.param == "file":
        return lambda: PassphraseLock(WORDS)
    keyring, made = request.getfixturevalue("kernel"), []

    def again() -> KeyringLock:
        made.append(1)
        return KeyringLock(f"test-{os.getpid()}", WORDS if len(made) == 1 else None, keyring=keyring, seconds=60)

    return again


def test_a_store_opens_with_the_same_keys(tmp_path: Path, lock) -> None:
    path = tmp_path / "keys"
    made = SealedKeyStore.create(path, "pi-1", lock(), now=NOW)
    again = SealedKeyStore.open(path, lock())
    assert again.identity.public == made.identity.public
    assert again.device_key.public_key() == made.device_key.public_key()
    signature = again.device_key.sign(b"m", ec.ECDSA(hashes.SHA256()))
    made.device_key.public_key().verify(signature, b"m", ec.ECDSA(hashes.SHA256()))
    assert again.unseal(made.seal(b"secret", b"token"), b"token") == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert backend_of(path) == (made.backend, "pi-1")


def test_no_secret_lies_in_the_file(tmp_path: Path, lock) -> None:
    path = tmp_path / "keys"
    made = SealedKeyStore.create(path, "pi-1", lock(), now=NOW)
    scalar = made.device_key.private_numbers().private_value.to_bytes(32, "big")
    written = path.read_bytes()
    for secret in (scalar, made.identity.signing.private_bytes_raw(), made.epoch.key.raw, WORDS):
        assert secret not in written


def test_a_wrong_passphrase_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW)
    with refused(KeyStoreRefusal.WRONG_KEY):
        SealedKeyStore.open(path, PassphraseLock(b"wrong horse"))
    whole = path.read_bytes()
    for spoiled in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"\xff" * 200):
        path.write_bytes(spoiled)
        with refused(KeyStoreRefusal.DAMAGED):
            SealedKeyStore.open(path, PassphraseLock(WORDS))
    path.write_bytes(whole)
    assert SealedKeyStore.open(path, PassphraseLock(WORDS)).backend == "file"
    with pytest.raises(InputError, match="8 characters"):
        PassphraseLock(b"short")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610])
def test_a_file_that_others_may_use_is_refused_before_a_passphrase_helps(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW)
    path.chmod(mode)
    with pytest.raises(RefusedError, check=lambda error: error.reason == "open_key_file"):
        SealedKeyStore.open(path, PassphraseLock(WORDS))


def test_keys_are_never_overwritten_and_never_opened_as_another_kind(tmp_path: Path, kernel) -> None:
    path = tmp_path / "keys"
    made = SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW)
    with pytest.raises(InputError, match="keys already"):
        SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW)
    with pytest.raises(InputError, match="kind file, not keyring"):
        SealedKeyStore.open(path, KeyringLock("x", keyring=kernel))
    with pytest.raises(InputError, match="no key file"):
        SealedKeyStore.open(tmp_path / "none", PassphraseLock(WORDS))
    assert SealedKeyStore.open(path, PassphraseLock(WORDS)).identity.public == made.identity.public


def test_a_secret_is_bound_to_its_store_and_its_use(tmp_path: Path) -> None:
    one = SealedKeyStore.create(tmp_path / "one", "pi-1", PassphraseLock(WORDS), now=NOW)
    two = SealedKeyStore.create(tmp_path / "two", "pi-1", PassphraseLock(WORDS), now=NOW)
    sealed = one.seal(b"secret", b"token")
    for store, context, box in (
        (two, b"token", sealed),
        (one, b"other", sealed),
        (one, b"token", sealed[:-1]),
        (one, b"token", b""),
    ):
        with refused(KeyStoreRefusal.NOT_OURS):
            store.unseal(box, context)


def test_the_kernel_store_is_locked_until_the_passphrase_is_given_once(tmp_path: Path, kernel) -> None:
    path, name = tmp_path / "keys", f"test-{os.getpid()}"
    made = SealedKeyStore.create(path, "pi-1", KeyringLock(name, WORDS, keyring=kernel, seconds=60), now=NOW)
    KeyringLock(name, keyring=kernel).forget()  # as a restart does
    with refused(KeyStoreRefusal.LOCKED):
        SealedKeyStore.open(path, KeyringLock(name, keyring=kernel))
    with refused(KeyStoreRefusal.WRONG_KEY):
        SealedKeyStore.open(path, KeyringLock(name, b"wrong horse", keyring=kernel))
    with refused(KeyStoreRefusal.LOCKED):  # a wrong one unlocks nothing
        SealedKeyStore.open(path, KeyringLock(name, keyring=kernel))
    SealedKeyStore.open(path, KeyringLock(name, WORDS, keyring=kernel, seconds=60))
    opened = SealedKeyStore.open(path, KeyringLock(name, keyring=kernel))
    assert opened.identity.public == made.identity.public
    opened.rotate(NOW, 14)
    KeyringLock(name, keyring=kernel).forget()
    assert SealedKeyStore.open(path, KeyringLock(name, WORDS, keyring=kernel, seconds=60)).epoch.number == 2


def test_the_kernel_forgets_a_key_when_its_time_is_over(kernel) -> None:
    name = f"skerry:test-{os.getpid()}"
    kernel.put(name, b"secret", 1)
    assert kernel.get(name) == b"secret"
    end = time.monotonic() + 180
    while kernel.get(name) is not None and time.monotonic() < end:
        time.sleep(0.1)
    assert kernel.get(name) is None


@pytest.mark.parametrize("suite", list(KemSuite))
def test_what_was_sealed_to_an_epoch_opens_until_its_key_is_deleted_and_then_never(tmp_path: Path, suite) -> None:
    path = tmp_path / "keys"
    store = SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW, days=7, suite=suite)
    old = store.identity.public
    sealed = old.encapsulation_key.seal(b"update", b"info")
    store.rotate(NOW + 6 * DAY, 7)
    assert store.prune(NOW + 400 * DAY) == 0  # nobody has the next key: the old one is still sealed to
    store.accepted(2, NOW + 6 * DAY)
    assert store.identity.public.kem_key != old.kem_key
    assert store.identity.public.signing_key == old.signing_key
    assert SealedKeyStore.open(path, PassphraseLock(WORDS)).identity.open(sealed, b"info") == b"update"
    assert store.prune(NOW + 13 * DAY - 1) == 0
    assert store.identity.open(sealed, b"info") == b"update"
    assert store.prune(NOW + 13 * DAY) == 1
    assert SealedKeyStore.open(path, PassphraseLock(WORDS)).identity.open(sealed, b"info") is None


def test_two_processes_that_rotate_do_not_lose_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    one = SealedKeyStore.create(path, "pi-1", PassphraseLock(WORDS), now=NOW)
    two = SealedKeyStore.open(path, PassphraseLock(WORDS))
    one.rotate(NOW, 14)
    assert two.rotate(NOW, 14).number == 3
    assert [epoch.number for epoch in SealedKeyStore.open(path, PassphraseLock(WORDS)).kem.epochs] == [1, 2, 3]


@pytest.mark.parametrize("days", [0, 6, 31])
def test_an_epoch_has_seven_to_thirty_days(tmp_path: Path, days: int) -> None:
    with pytest.raises(InputError, match="7 to 30"):
        SealedKeyStore.create(tmp_path / "keys", "pi-1", PassphraseLock(WORDS), now=NOW, days=days)
    assert not (tmp_path / "keys").exists()
