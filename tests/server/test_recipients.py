"""For whom a release is sealed, and under which cipher: who is enrolled now, by what each has said last."""

import dataclasses
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import InputError
from skerry.security.aead import Cipher
from skerry.security.enrolment import applicant, renew
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemKeys
from skerry.server.finish import _cipher

from ._enrolment import DAY, NOW, Agent, Federation

pytestmark = pytest.mark.usefixtures("both_in_full")


def test_a_release_is_under_the_cipher_that_suits_the_devices_enrolled(harbour: Federation, monkeypatch) -> None:
    quick, slow = (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305), (Cipher.CHACHA20_POLY1305, Cipher.AES_256_GCM)
    machine = monkeypatch.setattr
    machine(applicant, "ciphers_here", lambda: quick)
    harbour.enrol(Agent.fresh("server"))
    machine(applicant, "ciphers_here", lambda: slow)
    agent = Agent.fresh("pi-4")
    member = harbour.enrol(agent)
    both = ("server", "pi-4")
    assert harbour.recipients().cipher_for(both) is Cipher.CHACHA20_POLY1305
    assert harbour.recipients().cipher_for(["server"]) is Cipher.AES_256_GCM  # the other does not receive it
    harbour.now += 5 * DAY
    machine(applicant, "ciphers_here", lambda: quick)  # its keys moved into another board
    renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    assert harbour.recipients().cipher_for(both) is Cipher.AES_256_GCM


def test_nothing_is_sealed_to_a_certificate_or_sealing_key_that_has_ended(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("away"))
    short = Agent(Identity.generate("short"), ec.generate_private_key(ec.SECP256R1()), KemKeys.begin(NOW, 7))
    short.identity = dataclasses.replace(short.identity, kem=short.kem.newest.key)
    member = harbour.enrol(short)
    assert sorted(harbour.recipients().devices) == ["away", "short"]
    harbour.now += 6 * DAY
    renew(member, short, harbour.desk, attempt=b"a" * 16, now=harbour.now)  # with the sealing key that it had
    harbour.enrol(Agent.fresh("here", harbour.now))
    assert harbour.recipients().ended == ()
    harbour.now += DAY
    assert list(harbour.recipients().devices) == ["here"]
    assert harbour.recipients().ended == ("away", "short")
    harbour.now += 30 * DAY
    with pytest.raises(InputError, match="have ended"):
        harbour.recipients()


def test_a_run_that_ends_after_all_certificates_did_is_sealed_under_the_cipher_that_devices_named(
    harbour: Federation, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(applicant, "ciphers_here", lambda: (Cipher.CHACHA20_POLY1305, Cipher.AES_256_GCM))
    harbour.enrol(Agent.fresh("pi-4"))
    harbour.now += 40 * DAY
    with pytest.raises(InputError, match="have ended"):
        harbour.recipients()
    run = SimpleNamespace(simulated=False, folder=SimpleNamespace(path=tmp_path / "run"), clock=lambda: harbour.now)
    assert _cipher(run, ["pi-4"]) is Cipher.CHACHA20_POLY1305
    harbour.office.revoke(harbour.office.find("pi-4"), by="ann", why="lost", now=harbour.now)
    assert _cipher(run, ["pi-4"]) is Cipher.AES_256_GCM
