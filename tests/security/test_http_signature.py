"""A signed request names its device, and nothing in it can be changed; RFC 9421's own example verifies."""

import base64
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InputError
from skerry.security.http_signature import content_digest, read_claim, sign_request, signature_base, verify_raw

KEY = ec.generate_private_key(ec.SECP256R1())
PATH = "/v1/fleet/pull-messages"


def signed(body: bytes = b"body", **changed) -> dict[str, str]:
    values = {
        "key_id": "phone-7",
        "sign": lambda message: KEY.sign(message, ec.ECDSA(SHA256())),
        "created": 1_700_000_000,
        "nonce": secrets.token_urlsafe(16),
        **changed,
    }
    return sign_request("POST", PATH, body, **values)


def holds(headers, method="POST", path=PATH, body=b"body", key=None) -> bool:
    claim = read_claim(headers["signature-input"], headers["signature"])
    return claim.verify(key or KEY.public_key(), method, path, content_digest(body))


def test_the_example_of_rfc_9421_verifies():
    """Appendix B.2.4, with the key of B.1.3."""
    key = load_der_public_key(
        base64.b64decode(
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf"
            "w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ=="
        )
    )
    digest = "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
    components = {
        "@status": "200",
        "content-type": "application/json",
        "content-digest": digest,
        "content-length": "23",
    }
    parameters = (
        '("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256"'
    )
    signature = base64.b64decode(
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw=="
    )
    assert verify_raw(key, signature, signature_base(components, parameters))
    assert not verify_raw(key, signature, signature_base({**components, "@status": "201"}, parameters))


def test_what_was_signed_holds_and_says_who_and_when():
    headers = signed()
    claim = read_claim(headers["signature-input"], headers["signature"])
    assert (claim.key_id, claim.created) == ("phone-7", 1_700_000_000)
    assert holds(headers)


def test_another_method_path_body_or_key_does_not_hold():
    headers = signed()
    assert not holds(headers, method="GET")
    assert not holds(headers, path="/v1/fleet/push-messages")
    assert not holds(headers, body=b"body ")
    assert not holds(headers, key=ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.mark.parametrize(
    ("old", "new"), [("phone-7", "phone-8"), ("1700000000", "1700000001"), (';nonce="', ';nonce="A')]
)
def test_parameters_are_under_the_signature(old: str, new: str):
    headers = signed()
    headers["signature-input"] = headers["signature-input"].replace(old, new, 1)
    assert not holds(headers)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"@path" ', ""),  # covers less
        lambda text: text.replace("skerry=", "other=", 1),
        lambda text: text.replace("ecdsa-p256-sha256", "hmac-sha256"),
        lambda text: text.replace("skerry-gateway", "elsewhere"),
        lambda text: text + ";expires=9999999999",
        lambda text: text.replace(";created=", "; created=", 1),
        lambda text: text.replace("created=1", "created=01", 1),
        lambda text: text + ", " + text,
        lambda text: "",
    ],
)
def test_only_the_one_spelling_is_read(change):
    headers = signed()
    with pytest.raises(InputError):
        read_claim(change(headers["signature-input"]), headers["signature"])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.text(max_size=150))
def test_random_headers_are_refused(signature_input: str, signature: str):
    with pytest.raises(InputError):
        read_claim(signature_input, signature)


def test_a_key_of_another_curve_verifies_nothing():
    other = ec.generate_private_key(ec.SECP384R1())
    assert not verify_raw(other.public_key(), bytes(64), b"")


def test_names_that_the_profile_cannot_carry_are_refused_when_signing():
    with pytest.raises(InputError):
        signed(key_id='phone";alg="none')
    with pytest.raises(InputError):
        signed(nonce="short")
