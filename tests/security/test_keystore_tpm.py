"""Keys in a TPM 2.0: a real one in software (Debian's ``swtpm``), over TPM2-TSS."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from skerry.security.identity import KeyStoreRefusal, KeyStoreRefusedError, SealedKeyStore

pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed: pip install 'skerry[tpm]'", exc_type=ImportError)
if shutil.which("swtpm") is None:
    pytest.skip("swtpm is not installed: apt install swtpm libtss2-tcti-swtpm0", allow_module_level=True)

from skerry.security.identity.tpm import TpmLock

NOW = 1_764_000_000_000


@pytest.fixture
def chips(tmp_path_factory):
    """Starts chips, each with a seed of its own."""
    started = []

    def start() -> str:
        folder: Path = tmp_path_factory.mktemp("tpm")
        socket = folder / "s"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear"]
        command += ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        started.append(process)
        end = time.monotonic() + 180
        while not (socket.exists() and Path(f"{socket}.ctrl").exists()) and time.monotonic() < end:
            time.sleep(0.02)
        return f"swtpm:path={socket}"

    yield start
    for process in started:
        process.terminate()
        process.wait(180)


def test_a_store_opens_on_its_chip_and_on_no_other(tmp_path: Path, chips) -> None:
    mine, path = chips(), tmp_path / "keys"
    made = SealedKeyStore.create(path, "pi-1", TpmLock(mine), now=NOW)
    again = SealedKeyStore.open(path, TpmLock(mine))
    assert again.backend == "tpm"
    assert again.identity.public == made.identity.public
    assert again.device_key.public_key() == made.device_key.public_key()
    assert again.rotate(NOW, 14).number == 2
    with pytest.raises(KeyStoreRefusedError, check=lambda error: error.reason == KeyStoreRefusal.UNAVAILABLE.value):
        SealedKeyStore.open(path, TpmLock(chips()))


def test_the_device_key_signs_requests_and_never_leaves_the_chip(tmp_path: Path, chips) -> None:
    key = SealedKeyStore.create(tmp_path / "keys", "pi-1", TpmLock(chips()), now=NOW).device_key
    key.public_key().verify(key.sign(b"m", ec.ECDSA(hashes.SHA256())), b"m", ec.ECDSA(hashes.SHA256()))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    for leak in (
        key.private_numbers,
        lambda: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        lambda: key.exchange(ec.ECDH(), key.public_key()),
    ):
        with pytest.raises(KeyStoreRefusedError, match="only signs"):
            leak()


def test_an_altered_store_does_not_open(tmp_path: Path, chips) -> None:
    lock = TpmLock(chips())
    box = lock.close(b"secret", b"context")
    assert lock.open(box, b"context") == b"secret"
    for spoiled, context in ((box[:-1] + bytes([box[-1] ^ 1]), b"context"), (box, b"another")):
        with pytest.raises(KeyStoreRefusedError, check=lambda error: error.reason == KeyStoreRefusal.DAMAGED.value):
            lock.open(spoiled, context)


def test_no_chip_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreRefusedError, check=lambda error: error.reason == KeyStoreRefusal.UNAVAILABLE.value):
        TpmLock(f"device:{tmp_path}/none").close(b"secret", b"")
