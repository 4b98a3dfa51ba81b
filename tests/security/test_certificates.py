"""Certificates: whose they are, how long they hold, and what takes them back."""

import dataclasses
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from skerry.errors import InputError, RefusedError
from skerry.fsio import write_atomic
from skerry.security.certificates import Authority, CertificateRefusal, Role, Subject, Trust, renew_at
from skerry.security.certificates.validity import validity

NOW, HOUR, DAY = 1_764_000_000_000, 3_600_000, 86_400_000
PI = Subject("harbour", Role.DEVICE, "pi-1")


def refused(reason: CertificateRefusal):
    return pytest.raises(RefusedError, check=lambda error: error.reason == reason.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("authority")
    Authority.create(made, "harbour", now=NOW, passphrase=b"root words")
    return made


@pytest.fixture
def authority(folder: Path) -> Authority:
    return Authority.open(folder)


@pytest.fixture
def trust(authority: Authority) -> Trust:
    return Trust("harbour", (authority.root,))


def issued(authority: Authority, subject: Subject = PI, now: int = NOW) -> x509.Certificate:
    return authority.issue(subject, ec.generate_private_key(ec.SECP256R1()).public_key(), now=now)


def test_a_certificate_holds_for_seven_days_and_is_renewed_at_two_thirds(authority: Authority, trust: Trust) -> None:
    one = issued(authority)
    peer = trust.peer(one, [authority.issuer], now=NOW, revoked=None)
    assert peer.subject == PI
    assert peer.subject.uri == "spiffe://harbour/device/pi-1"
    begin, end = validity(one)
    assert end == NOW + 7 * DAY
    assert renew_at(one) == begin + (end - begin) * 2 // 3
    assert trust.peer(one, [authority.issuer], now=end - 1000, revoked=None)
    with refused(CertificateRefusal.EXPIRED):
        trust.peer(one, [authority.issuer], now=end, revoked=None)
    with refused(CertificateRefusal.NOT_YET_VALID):
        trust.peer(one, [authority.issuer], now=begin - 1000, revoked=None)


def test_a_foreign_certificate_is_refused_whatever_name_it_bears(tmp_path: Path, authority, trust: Trust) -> None:
    twin = Authority.create(tmp_path / "twin", "harbour", now=NOW)
    coast = Authority.create(tmp_path / "coast", "coast", now=NOW)
    for other in (twin, coast):
        subject = dataclasses.replace(PI, federation=other.federation)
        with refused(CertificateRefusal.FOREIGN):
            trust.peer(issued(other, subject), [other.issuer], now=NOW, revoked=None)
    both = Trust("harbour", (authority.root, coast.root))  # a root that is trusted for somebody else
    with refused(CertificateRefusal.FOREIGN):
        both.peer(issued(coast, dataclasses.replace(PI, federation="coast")), [coast.issuer], now=NOW, revoked=None)


def test_a_device_cannot_issue_and_a_server_is_no_device(authority: Authority, trust: Trust) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    device = authority.issue(PI, key.public_key(), now=NOW)
    forged = issued(Authority("harbour", authority.root, device, key), dataclasses.replace(PI, name="pi-2"))
    with refused(CertificateRefusal.FOREIGN):
        trust.peer(forged, [device, authority.issuer], now=NOW, revoked=None)
    with refused(CertificateRefusal.FOREIGN):
        trust.issuing_key(device, now=NOW)
    server = authority.issue_server(["fleet.example", "127.0.0.1"], key.public_key(), now=NOW)
    with refused(CertificateRefusal.FOREIGN):
        trust.peer(server, [authority.issuer], now=NOW, revoked=None)


def test_a_leaf_of_the_root_itself_is_no_issuer(tmp_path: Path) -> None:
    made = Authority.create(tmp_path, "harbour", now=NOW)
    root_key = load_pem_private_key((tmp_path / "root.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = dataclasses.replace(made, issuer=made.root, key=root_key).issue(PI, key.public_key(), now=NOW)
    trust = Trust("harbour", (made.root,))
    assert trust.issuing_key(made.issuer, now=NOW)
    with refused(CertificateRefusal.FOREIGN):
        trust.issuing_key(leaf, now=NOW)


def test_a_revoked_certificate_is_refused_by_a_fresh_list_and_by_no_other(authority: Authority, trust: Trust) -> None:
    gone, kept = issued(authority), issued(authority, dataclasses.replace(PI, name="pi-2"))
    listed = authority.revocation_list({gone.serial_number: NOW}, number=1, now=NOW)
    with refused(CertificateRefusal.REVOKED):
        trust.peer(gone, [authority.issuer], now=NOW, revoked=listed)
    assert trust.peer(kept, [authority.issuer], now=NOW, revoked=listed)
    with refused(CertificateRefusal.STALE_LIST):  # else who keeps an old one back un-revokes
        trust.peer(kept, [authority.issuer], now=NOW + DAY, revoked=listed)


def test_a_list_of_somebody_else_is_refused(tmp_path: Path, authority: Authority, trust: Trust) -> None:
    twin = Authority.create(tmp_path, "harbour", now=NOW)
    empty = twin.revocation_list({}, number=9, now=NOW)
    with refused(CertificateRefusal.FORGED_LIST):
        trust.peer(issued(authority), [authority.issuer], now=NOW, revoked=empty)
    with refused(CertificateRefusal.FORGED_LIST):
        trust.peer(issued(authority), [authority.issuer, twin.issuer], now=NOW, revoked=empty)


def test_keys_are_the_owners_only_and_the_roots_is_not_needed_to_issue(tmp_path: Path) -> None:
    made = Authority.create(tmp_path, "harbour", now=NOW, passphrase=b"root words")
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.glob("*.key")}
    assert modes == {"root.key": 0o600, "issuer.key": 0o600}
    assert b"ENCRYPTED" in (tmp_path / "root.key").read_bytes()
    (tmp_path / "root.key").rename(tmp_path / "elsewhere")
    assert issued(Authority.open(tmp_path)).issuer == made.issuer.subject
    (tmp_path / "issuer.key").chmod(0o640)
    with pytest.raises(RefusedError, check=lambda error: error.reason == "open_key_file"):
        Authority.open(tmp_path)


def test_a_new_issuing_key_takes_nothing_back(tmp_path: Path) -> None:
    old = Authority.create(tmp_path, "harbour", now=NOW, passphrase=b"root words")
    certificate = issued(old)
    with pytest.raises(InputError, match="passphrase"):
        Authority.rotate(tmp_path, now=NOW + DAY, passphrase=b"wrong words")
    new = Authority.rotate(tmp_path, now=NOW + DAY, passphrase=b"root words")
    assert new.root == old.root
    assert Authority.open(tmp_path).issuer == new.issuer != old.issuer
    trust = Trust("harbour", (new.root,))
    assert trust.peer(certificate, [old.issuer], now=NOW + DAY, revoked=None)
    assert trust.peer(issued(new, now=NOW + DAY), [new.issuer], now=NOW + DAY, revoked=None)
    with pytest.raises(InputError, match="already"):
        Authority.create(tmp_path, "harbour", now=NOW)


def test_a_crash_while_the_issuing_key_is_made_anew_leaves_the_old_one_in_use(tmp_path: Path, monkeypatch) -> None:
    old = Authority.create(tmp_path, "harbour", now=NOW)
    written = []

    def crashing(path: Path, data: bytes, **how) -> None:
        if written:
            raise OSError("power cut")
        written.append(path)
        write_atomic(path, data, **how)

    with monkeypatch.context() as cut:
        cut.setattr("skerry.security.certificates.authority.write_atomic", crashing)
        with pytest.raises(OSError, match="power cut"):
            Authority.rotate(tmp_path, now=NOW)
    assert len(written) == 1
    assert Authority.open(tmp_path).issuer == old.issuer
    new = Authority.rotate(tmp_path, now=NOW)
    assert new.issuer_of(issued(old)) == old.issuer
    assert new.issuer_of(issued(new)) == new.issuer
    with pytest.raises(InputError, match="no issuing certificate"):
        new.issuer_of(issued(Authority.create(tmp_path / "twin", "harbour", now=NOW)))


def test_of_two_that_make_an_authority_at_once_one_does(tmp_path: Path) -> None:
    def make(_: int) -> bool:
        try:
            Authority.create(tmp_path, "harbour", now=NOW)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as several:
        assert sum(several.map(make, range(8))) == 1
    assert Authority.rotate(tmp_path, now=NOW)  # the keys are of one root


@pytest.mark.parametrize("spoil", ["issuer.pem", "issuer.key", "root.pem"])
def test_a_damaged_authority_says_so(tmp_path: Path, spoil: str) -> None:
    Authority.create(tmp_path, "harbour", now=NOW)
    (tmp_path / spoil).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be read"):
        Authority.open(tmp_path)


@pytest.mark.parametrize(
    ("federation", "name"),
    [("Harbour", "pi"), ("", "pi"), ("a/b", "pi"), ("harbour", ""), ("harbour", "pi 1"), ("harbour", "a/b"),
     ("harbour", "ä"), ("harbour", "x" * 65), ("harbour", "-pi"), ("harbour", "pi\n")],
)  # fmt: skip
def test_a_name_that_cannot_stand_in_a_certificate_is_refused(federation: str, name: str) -> None:
    with pytest.raises(InputError):
        Subject(federation, Role.DEVICE, name)


def test_only_p256_keys_are_certified(authority: Authority) -> None:
    with pytest.raises(InputError, match="P-256"):
        authority.issue(PI, ec.generate_private_key(ec.SECP384R1()).public_key(), now=NOW)
    with pytest.raises(InputError, match="not coast's"):
        issued(authority, Subject("coast", Role.DEVICE, "pi-1"))
