"""Promises of identities: private keys stay private, names keep their keys, weak keys are not taken."""

import copy
import json
import stat

import pytest

from skerry.errors import EnvelopeRefusedError, InputError, RefusedError
from skerry.security import Directory, Identity, PublicIdentity, verify_signature
from skerry.security.hpke import KemSuite

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P


@pytest.fixture(scope="module")
def ann():
    return Identity.generate("ann")


@pytest.mark.parametrize("suite", KemSuite)
def test_saved_keys_come_back_and_only_the_owner_may_read_them(tmp_path, suite):
    path = tmp_path / "keys" / "ann.json"
    ann = Identity.generate("ann", suite)
    ann.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Identity.load(path)
    assert again.public == ann.public
    verify_signature(ann.public, b"d", b"m", again.sign(b"d", b"m"))
    assert again.kem.open(ann.public.encapsulation_key.seal(b"to ann", b"i"), b"i") == b"to ann"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_file_that_others_may_use_is_refused(tmp_path, ann, mode):
    path = tmp_path / "ann.json"
    ann.save(path)
    path.chmod(mode)
    with pytest.raises(RefusedError) as caught:
        Identity.load(path)
    assert caught.value.reason == "open_key_file"


def test_no_secret_appears_in_the_repr(ann):
    assert ann.signing.private_bytes_raw().hex() not in repr(ann)
    assert repr(ann) == "Identity(name='ann')"
    assert ann.kem.raw.hex() not in repr(ann.kem)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "no json", '{"schema": 2}', '{"schema": 1, "name": "x", "signing": "00", "kem": "00"}'],
)
def test_a_file_that_is_no_key_file_is_bad_input_and_not_quoted(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="not a key file") as caught:
        Identity.load(path)
    assert caught.value.__cause__ is None


def test_a_missing_key_file_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no key file"):
        Identity.load(tmp_path / "none")


def test_a_signature_holds_for_its_domain_message_and_signer_only(ann):
    signature = ann.sign(b"domain", b"message")
    verify_signature(ann.public, b"domain", b"message", signature)
    other = Identity.generate("ann").public
    for public, domain, message in [
        (ann.public, b"domai", b"nmessage"),  # the border between domain and message cannot be moved
        (ann.public, b"other", b"message"),
        (ann.public, b"domain", b"massage"),
        (other, b"domain", b"message"),
    ]:
        with pytest.raises(EnvelopeRefusedError) as caught:
            verify_signature(public, domain, message, signature)
        assert caught.value.reason == "not_authentic"
    for bad in (b"", signature[:-1], signature + b"\0"):
        with pytest.raises(EnvelopeRefusedError):
            verify_signature(ann.public, b"domain", b"message", bad)


def _multiply_by_8_is_neutral(y):
    """Whether the point(s) of edwards25519 with this y have an order that divides 8 (affine formulas, RFC 8032)."""
    y %= P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not on the curve"
    for _ in range(3):
        t = D * x * x * y * y
        x, y = 2 * x * y * pow(1 + t, P - 2, P) % P, (y * y + x * x) * pow(1 - t, P - 2, P) % P
    return (x, y) == (0, 1)


def test_keys_of_small_order_are_not_taken(ann):
    from skerry.security.identity.keys import _SMALL_ORDER

    assert all(_multiply_by_8_is_neutral(y) for y in _SMALL_ORDER)
    # the subgroup has order 8; its points share y in pairs, but for two; encodings from p on repeat 0 and 1
    assert len({y % P for y in _SMALL_ORDER}) == 5
    for y in _SMALL_ORDER:
        for sign in (0, 1 << 255):
            with pytest.raises(InputError, match="small order"):
                PublicIdentity("eve", (y | sign).to_bytes(32, "little"), ann.public.kem_key)
    for u in (0, 1, P - 1, P, P + 1):
        with pytest.raises(InputError, match="small order"):
            PublicIdentity("eve", ann.public.signing_key, u.to_bytes(32, "little"))


@pytest.mark.parametrize("suite", KemSuite)
def test_public_identities_travel_as_json(suite):
    ann = Identity.generate("ann", suite)
    value = json.loads(json.dumps(ann.public.to_json()))
    assert PublicIdentity.from_json(value) == ann.public
    for bad in (
        None,
        {},
        {**value, "more": 1},
        {**value, "signing_key": 5},
        {**value, "signing_key": "zz"},
        {**value, "kem_key": value["kem_key"][:-2]},
        {**value, "name": "../ann"},
        {**value, "suite": "p384"},
        {**value, "suite": None},
        {**value, "suite": []},
        {**value, "suite": "p256" if suite != "p256" else "x25519"},
    ):
        with pytest.raises(InputError):
            PublicIdentity.from_json(bad)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", " a", "a ", "a\nb", "x" * 129, "ü" * 65]
)
def test_names_that_could_lead_elsewhere_are_refused(name):
    with pytest.raises(InputError, match="not a usable name"):
        Identity.generate(name)


@pytest.mark.parametrize("name", ["writer-00", "Anna's phone", "Küche", "a.b_c", "x" * 128])
def test_ordinary_names_are_fine(name):
    assert Identity.generate(name).public.name == name


def test_a_directory_keeps_names_and_keys_together(tmp_path, ann):
    bob = Identity.generate("bob").public
    directory = Directory({"bob": bob, "ann": ann.public})
    assert directory.get("ann") == ann.public
    assert list(directory) == ["ann", "bob"]
    assert len(directory) == 2
    assert "bob" in directory
    assert "eve" not in directory
    directory.add(bob)
    with pytest.raises(InputError, match="entered as"):
        Directory({"ann": bob})
    with pytest.raises(InputError, match="other keys"):
        directory.add(Identity.generate("bob").public)
    with pytest.raises(EnvelopeRefusedError) as caught:
        directory.get("eve")
    assert caught.value.reason == "unknown_sender"
    directory.save(tmp_path / "d.json")
    again = Directory.load(tmp_path / "d.json")
    assert {name: again.get(name) for name in again} == {"ann": ann.public, "bob": bob}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "identities": [{}]}',
        '{"schema": 1, "identities": 3}',
    ],
)
def test_what_is_no_directory_is_bad_input(tmp_path, text):
    path = tmp_path / "d.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError):
        Directory.load(path)


@pytest.mark.parametrize("suite", KemSuite)
def test_public_identities_go_to_another_process_with_their_keys(suite):
    ann = Identity.generate("ann", suite)
    there = copy.deepcopy(ann.public)  # by what a pickle is made of
    assert there == ann.public
    assert ann.open(there.encapsulation_key.seal(b"m", b"i"), b"i") == b"m"
