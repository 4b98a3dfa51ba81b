"""Signing in to the console at a real OpenID provider over HTTPS: who gets in, as what, and everybody else does not."""

import asyncio
import hmac
import itertools
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from skerry.errors import InputError
from skerry.server.console.oidc import BEGUN_COOKIE, BEGUN_S
from skerry.server.console.oidc_provider import OidcFault, SignInRefusedError
from skerry.server.console.oidc_settings import load_oidc_settings
from skerry.server.console.sessions import COOKIE

from ._console import Person, Shown, Time, console
from ._gateway import reason
from ._oidc import CLIENT, SECRET, SETTINGS, Provider, part, provider, sign_in_at, unsigned


@pytest.fixture(scope="module")
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def running_login(tmp_path_factory):
    with provider(tmp_path_factory.mktemp("login") / "provider") as found:
        yield found


@pytest.fixture(scope="module")
def shown(tmp_path_factory, running_login: Provider, time: Time):
    folder = tmp_path_factory.mktemp("console")
    with console(folder, sign_in_at(running_login, folder, time)) as found:
        yield found


@pytest.fixture
def login(running_login: Provider, time: Time) -> Provider:
    running_login.reset()
    time.s += 4000  # what was known of the provider is asked anew
    return running_login


ADDRESSES = itertools.count(2)


@contextmanager
def browser(shown: Shown) -> Iterator[Person]:
    """One at an address of its own: the gateway counts what fails by address."""
    way = httpx.HTTPTransport(verify=shown.gateway.trusted, local_address=f"127.0.0.{next(ADDRESSES)}")
    with httpx.Client(base_url=shown.gateway.url, transport=way, timeout=60) as client:
        yield Person(shown.gateway.url, client)


def came_back(person: Person, login: Provider) -> dict[str, str]:
    begun = person.post("oidc/begin")
    assert begun.status_code == 200, begun.text
    return login.visit(begun.json()["url"])


def refused(answer: Any) -> str:
    """Why, by the reason's own word."""
    assert reason(answer) == "sign_in_refused"
    assert COOKIE not in answer.cookies
    return answer.json()["error"]["what"].rpartition("(")[2].rstrip(")")


def test_who_signs_in_at_the_provider_has_a_session_in_the_role_of_a_group(shown: Shown, login: Provider) -> None:
    with browser(shown) as person:
        assert person.get("ways").json() == {"oidc": "Harbour login"}
        assert reason(person.get("session")) == "not_signed_in"
        answer = person.post("oidc/finish", came_back(person, login))
        told = answer.json()
        assert (told["who"], told["role"]) == ("ann (Harbour login, sub 7)", "viewer")
        person.csrf = told["csrf"]
        assert person.get("session").json()["who"] == told["who"]
        assert reason(person.post("act/pause", {"run": "x"})) == "wrong_role"
        assert person.post("sign-out").status_code == 200
        assert reason(person.get("session")) == "not_signed_in"


def test_of_several_groups_the_role_that_may_more_holds_and_a_single_text_is_a_group(
    shown: Shown, login: Provider
) -> None:
    for groups in (["fleet-readers", "fleet-operators"], "fleet-operators"):
        login.claims = {"groups": groups}
        with browser(shown) as person:
            assert person.post("oidc/finish", came_back(person, login)).json()["role"] == "operator"


def test_cookies_and_what_the_browser_is_told(shown: Shown, login: Provider) -> None:
    with browser(shown) as person:
        begun = person.post("oidc/begin")
        cookie = begun.headers["set-cookie"]
        for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={BEGUN_S}"):
            assert word in cookie
        assert cookie.startswith(f"{BEGUN_COOKIE}=")
        assert begun.headers["cache-control"] == "no-store"
        answer = person.post("oidc/finish", login.visit(begun.json()["url"]))
        assert set(answer.json()) == {"who", "role", "csrf"}  # no token of the provider's


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"]},
        {"azp": "another-client"},
        {"iss": "https://127.0.0.1/realms/other"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 1_700_000_000},
        {"iat": "now"},
        {"iat": 9_999_999_999},
    ],
    ids=lambda claims: "-".join(f"{name}:{value}" for name, value in claims.items())[:40],
)
def test_a_token_with_a_wrong_claim_is_refused(shown: Shown, login: Provider, wrong: dict[str, Any]) -> None:
    login.claims = wrong
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "token_refused"
        assert reason(person.get("session")) == "not_signed_in"


def _with_the_public_key_as_secret(login: Provider) -> Callable[[dict[str, Any]], str]:
    public = login.keys.keys[0].as_pem(private=False)

    def sign(claims: dict[str, Any]) -> str:
        told = f"{part({'alg': 'HS256', 'kid': '1'})}.{part(claims)}"
        mac = hmac.new(public, told.encode(), "sha256").digest()
        return f"{told}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    return sign


def _by_another_key(_: Provider) -> Callable[[dict[str, Any]], str]:
    other = RSAKey.generate_key(2048, {"kid": "1"})
    return lambda claims: jwt.encode({"alg": "RS256", "kid": "1"}, claims, other)


@pytest.mark.parametrize(
    "signing",
    [lambda _: unsigned, _with_the_public_key_as_secret, _by_another_key, lambda _: lambda _claims: "no token"],
    ids=["none", "shared-secret", "another-key", "nonsense"],
)
def test_a_token_that_the_issuers_keys_did_not_sign_is_refused(shown: Shown, login: Provider, signing: Any) -> None:
    login.sign = signing(login)
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "token_refused"


@pytest.mark.parametrize("groups", [[], ["staff"], None, 7, ["FLEET-OPERATORS"], [["fleet-operators"]]])
def test_without_a_group_of_the_table_nobody_gets_in(shown: Shown, login: Provider, groups: object) -> None:
    login.claims = {"groups": groups}
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "no_role"


@pytest.mark.parametrize("name", [None, "", 7, "ann\nbob", "a" * 129])
def test_without_a_name_for_the_log_nobody_gets_in(shown: Shown, login: Provider, name: object) -> None:
    login.claims = {"preferred_username": name}
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "no_role"


def test_a_code_is_used_once_and_by_the_browser_that_began(shown: Shown, login: Provider) -> None:
    with browser(shown) as person, browser(shown) as other:
        answer = came_back(person, login)
        person.client.cookies.set("kept", "x")
        begun = person.client.cookies[BEGUN_COOKIE]
        assert refused(other.post("oidc/finish", answer)) == "unknown_sign_in"
        other.post("oidc/begin")
        assert refused(other.post("oidc/finish", answer)) == "unknown_sign_in"  # a sign-in of its own, another state
        assert person.post("oidc/finish", answer).status_code == 200
        person.client.cookies.set(BEGUN_COOKIE, begun, domain="127.0.0.1", path="/")
        assert refused(person.post("oidc/finish", answer)) == "unknown_sign_in"
    assert login.asked.count("/realms/fleet/token") == 1  # what was refused never reached the provider


def test_another_state_ends_the_sign_in_and_a_code_of_the_provider_is_redeemed_once(
    shown: Shown, login: Provider
) -> None:
    with browser(shown) as person:
        answer = came_back(person, login)
        assert refused(person.post("oidc/finish", {**answer, "state": "guessed"})) == "unknown_sign_in"
        assert refused(person.post("oidc/finish", answer)) == "unknown_sign_in"
        first = came_back(person, login)
        code = first["code"]
        assert person.post("oidc/finish", first).status_code == 200
        replayed = {**came_back(person, login), "code": code}
        assert refused(person.post("oidc/finish", replayed)) == "provider_declined"


@pytest.mark.parametrize("state", ["\ud800", "of a sign-in\udfff"])
def test_half_a_character_is_no_state(shown: Shown, login: Provider, state: str) -> None:
    """JSON can say it, and no text that is ever sent is it."""
    with browser(shown) as person:
        answer = came_back(person, login)
        told = person.client.post(
            "/v1/console/oidc/finish",
            content=json.dumps({**answer, "state": state}),
            headers={**person.own, "content-type": "application/json"},
        )
        assert reason(told) == "malformed"
        assert person.post("oidc/finish", answer).status_code == 200


def test_a_sign_in_that_takes_too_long_is_over(shown: Shown, login: Provider, time: Time) -> None:
    with browser(shown) as person:
        answer = came_back(person, login)
        time.s += BEGUN_S
        assert refused(person.post("oidc/finish", answer)) == "unknown_sign_in"


@pytest.mark.parametrize(
    ("given", "why"), [({"iss": "https://evil"}, "unknown_sign_in"), ({"iss": None}, "unknown_sign_in")]
)
def test_an_answer_of_another_provider_is_refused(shown: Shown, login: Provider, given: dict, why: str) -> None:
    with browser(shown) as person:
        answer = {name: value for name, value in {**came_back(person, login), **given}.items() if value is not None}
        assert refused(person.post("oidc/finish", answer)) == why


def test_who_declined_at_the_provider_is_not_let_in(shown: Shown, login: Provider) -> None:
    with browser(shown) as person:
        state = came_back(person, login)["state"]
        answer = person.post("oidc/finish", {"state": state, "error": "access_denied", "iss": login.issuer})
        assert refused(answer) == "provider_declined"


def test_new_keys_of_the_provider_are_taken_and_its_old_ones_no_more(shown: Shown, login: Provider) -> None:
    with browser(shown) as person:
        assert person.post("oidc/finish", came_back(person, login)).status_code == 200
    before = login.keys
    login.rotate()
    with browser(shown) as person:
        assert person.post("oidc/finish", came_back(person, login)).status_code == 200
    (key,) = before.keys
    login.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "token_refused"


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://127.0.0.1/other"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"jwks_uri": None},
        {"response_modes_supported": ["query"]},
    ],
    ids=["issuer", "without-tls", "no-keys", "no-fragment"],
)
def test_a_provider_whose_configuration_does_not_do_is_not_gone_to(
    shown: Shown, login: Provider, wrong: dict[str, Any]
) -> None:
    login.configuration = wrong
    with browser(shown) as person:
        assert refused(person.post("oidc/begin")) == "provider_failed"


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
@pytest.mark.parametrize("path", ["oidc/begin", "oidc/finish"])
def test_only_the_console_s_own_page_signs_in(shown: Shown, path: str, headers: dict[str, str]) -> None:
    with browser(shown) as person:
        assert reason(person.post(path, **headers)) == "other_origin"


def test_a_confidential_client_shows_its_secret_and_a_wrong_one_gets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    time = Time()
    with provider(tmp_path / "login", secret=SECRET) as login:
        sign_in = sign_in_at(login, tmp_path, time, 'client_secret_file = "secret"')
        with console(tmp_path, sign_in) as shown, browser(shown) as person:
            assert person.post("oidc/finish", came_back(person, login)).status_code == 200
            (tmp_path / "secret").write_text("another")
            assert refused(person.post("oidc/finish", came_back(person, login))) == "provider_failed"


def test_a_provider_whose_certificate_is_not_known_is_not_spoken_to(tmp_path: Path) -> None:
    with provider(tmp_path / "login") as login, provider(tmp_path / "other") as other:
        login.root = other.root
        sign_in = sign_in_at(login, tmp_path, Time())
        with console(tmp_path, sign_in) as shown, browser(shown) as person:
            assert refused(person.post("oidc/begin")) == "provider_failed"
            assert login.asked == []


def test_without_a_provider_there_is_no_such_way(tmp_path: Path) -> None:
    with console(tmp_path) as shown, browser(shown) as person:
        assert person.get("ways").json() == {"oidc": None}
        assert reason(person.post("oidc/begin")) == "no_such_place"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("https://", "http://"), "issuer"),
        (('"operator"', '"root"'), "fleet-operators"),
        (("client_id", "clientid"), "client_id"),
        (('"viewer"', '"viewer"\nx = '), "TOML"),
        (("root.pem", "missing.pem"), "authority"),
    ],
)
def test_settings_that_are_wrong_are_said_before_anything_is_served(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    path = tmp_path / "oidc.toml"
    path.write_text(SETTINGS.format(issuer="https://login.example", authority="root.pem", more="").replace(*change))
    (tmp_path / "root.pem").write_text("")
    with pytest.raises(InputError) as failed:
        load_oidc_settings(path)
    assert told in failed.value.what + (failed.value.mend or "")


def test_who_fails_again_and_again_has_to_wait(shown: Shown, login: Provider) -> None:
    with browser(shown) as person:
        why = {reason(person.post("oidc/finish", {"state": "guessed", "code": "guessed"})) for _ in range(22)}
    assert why == {"sign_in_refused", "too_many"}


def test_what_fails_at_the_provider_is_not_counted_to_who_signs_in(shown: Shown, login: Provider) -> None:
    login.sign = lambda _: None  # it gives no token
    with browser(shown) as person:
        why = {refused(person.post("oidc/finish", came_back(person, login))) for _ in range(22)}
    assert why == {"provider_failed"}


@pytest.mark.parametrize("subject", [None, "", 7, "a" * 256])
def test_a_token_without_a_subject_is_refused(shown: Shown, login: Provider, subject: object) -> None:
    login.claims = {"sub": subject}
    with browser(shown) as person:
        assert refused(person.post("oidc/finish", came_back(person, login))) == "token_refused"


def test_whoever_takes_another_s_name_is_another_author(shown: Shown, login: Provider) -> None:
    with browser(shown) as first, browser(shown) as second:
        ann = first.post("oidc/finish", came_back(first, login)).json()["who"]
        login.claims = {"sub": "8"}
        assert second.post("oidc/finish", came_back(second, login)).json()["who"] != ann


@pytest.mark.parametrize(
    "other", [{"kty": "EC", "kid": "9", "crv": "BP-256", "x": "AA", "y": "AA"}, {"kty": "X"}, {}, None, "key"]
)
def test_a_key_of_a_kind_that_is_not_known_keeps_nobody_out(shown: Shown, login: Provider, other: object) -> None:
    login.beside = [other]
    with browser(shown) as person:
        assert person.post("oidc/finish", came_back(person, login)).status_code == 200


def test_nothing_is_not_a_list_of_modes(shown: Shown, login: Provider) -> None:
    login.configuration = {"response_modes_supported": None}
    with browser(shown) as person:
        assert person.post("oidc/finish", came_back(person, login)).status_code == 200


PAGE, CONFIGURATION = "https://gateway/console/", "/realms/fleet/.well-known/openid-configuration"


def test_whoever_begins_without_end_drops_their_own_sign_ins_and_nobody_else_s(login: Provider, tmp_path: Path) -> None:
    async def crowd() -> None:
        sign_in = sign_in_at(login, tmp_path, Time())
        (theirs, cookie), (own, mine) = [await sign_in.begin(PAGE, address) for address in ("10.0.0.1", "10.0.0.2")]
        for _ in range(5000):
            await sign_in.begin(PAGE, "10.0.0.2")
        await sign_in.finish(cookie, login.visit(theirs))
        with pytest.raises(SignInRefusedError) as failed:
            await sign_in.finish(mine, login.visit(own))
        assert failed.value.fault is OidcFault.UNKNOWN

    asyncio.run(crowd())


def test_however_many_begin_at_once_the_provider_is_asked_once(login: Provider, tmp_path: Path) -> None:
    async def crowd() -> None:
        time = Time()
        sign_in = sign_in_at(login, tmp_path, time)
        login.configuration = {"issuer": "https://another"}
        for _ in range(2):
            begun = await asyncio.gather(*(sign_in.begin(PAGE, "a") for _ in range(40)), return_exceptions=True)
            assert {type(one) for one in begun} == {SignInRefusedError}
        assert login.asked == [CONFIGURATION]  # that it failed is remembered
        login.configuration = {}
        time.s += 5
        await asyncio.gather(*(sign_in.begin(PAGE, "a") for _ in range(40)))
        assert login.asked == [CONFIGURATION] * 2

    asyncio.run(crowd())


def test_one_who_goes_away_ends_the_question_for_nobody_else(login: Provider, tmp_path: Path) -> None:
    async def pair() -> None:
        sign_in = sign_in_at(login, tmp_path, Time())
        first, second = (asyncio.create_task(sign_in.begin(PAGE, name)) for name in "ab")
        await asyncio.sleep(0)
        first.cancel()
        assert (await second)[0].startswith(login.issuer)

    asyncio.run(pair())
