"""What a machine says of the ciphers it opens, and the one that suits a fleet."""

from pathlib import Path

import pytest

from skerry.cli.release.publishing import CipherName
from skerry.errors import InputError
from skerry.security.aead import Cipher, ciphers_here, read_ciphers, suited_cipher

AES, CHACHA = Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305
QUICK, PI_4, BROWSER = (AES, CHACHA), (CHACHA, AES), (AES,)
CPUS = {
    "x86 with AES": ("flags\t\t: fpu vme pclmulqdq ssse3 aes avx", QUICK),
    "Pi 5": ("Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32", QUICK),
    "Pi 4": ("Features\t: fp asimd evtstrm crc32 cpuid", PI_4),
    "a word that holds aes is another": ("flags : fpu vaes_not xaesx\nmodel name : aes", PI_4),
    "nothing is said": ("processor : 0", PI_4),
}


@pytest.mark.parametrize("name", CPUS)
def test_a_processor_without_instructions_for_aes_is_told(tmp_path: Path, name: str) -> None:
    said, expected = CPUS[name]
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{said}\nmodel : x\n")
    assert ciphers_here(tmp_path / "cpuinfo") == expected


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Darwin", "arm64", QUICK),
        ("Windows", "AMD64", QUICK),
        ("Windows", "ARM64", QUICK),
        ("Linux", "x86_64", QUICK),
        ("Linux", "aarch64", PI_4),  # a container without /proc on a Pi 4
        ("Linux", "armv7l", PI_4),
    ],
)
def test_where_no_file_tells_the_kind_of_machine_does(tmp_path, monkeypatch, system, machine, expected) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert ciphers_here(tmp_path / "none") == expected


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [
        ([QUICK, QUICK, BROWSER], AES),
        ([QUICK, PI_4, QUICK], CHACHA),
        ([PI_4, BROWSER], AES),  # a browser opens nothing else: one release for both, slower on the Pi
        ([PI_4], CHACHA),
        ([], AES),
    ],
)
def test_one_cipher_suits_a_fleet_and_everybody_opens_it(fleet, expected) -> None:
    assert suited_cipher(fleet) is expected
    assert all(expected in device for device in fleet)


def test_a_cipher_of_tomorrow_is_passed_over() -> None:
    assert read_ciphers(["aegis-256", "chacha20-poly1305", "aes-256-gcm"]) == PI_4


@pytest.mark.parametrize(
    "names",
    ["aes-256-gcm", [], ["chacha20-poly1305"], ["aes-256-gcm", "aes-256-gcm"], [b"aes-256-gcm"], None, ["x"] * 9],
)
def test_a_list_without_the_cipher_that_everybody_opens_is_refused(names) -> None:
    with pytest.raises(InputError):
        read_ciphers(names)


def test_the_command_line_names_the_same_ciphers() -> None:
    assert list(map(str, CipherName)) == list(map(str, Cipher))
