"""Who gets into the console, what they may do there, and that nobody else can have a browser do it for them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from skerry.clock import system_clock
from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server.console import Admitted, ConsoleRole, Links
from skerry.server.console.links import LINK_MS
from skerry.server.console.sessions import COOKIE, IDLE_S, LONGEST_S, Sessions

from ._console import Person, console
from ._federation import Agent
from ._gateway import Signing, reason

OPEN = ("session", "events")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with console(tmp_path_factory.mktemp("console")) as found:
        yield found


def test_a_link_lets_one_browser_in_once(shown):
    token = shown.link(ConsoleRole.VIEWER, "eve")
    with shown.browser() as first, shown.browser() as second:
        answer = first.sign_in(token)
        assert {name: answer.json()[name] for name in ("who", "role")} == {"who": "eve", "role": "viewer"}
        assert reason(second.sign_in(token)) == "bad_link"
        assert first.get("session").json()["who"] == "eve"
        assert reason(second.get("session")) == "not_signed_in"


def test_of_many_who_use_a_link_at_once_one_gets_in(tmp_path):
    links = Links(tmp_path, system_clock)
    for _ in range(20):
        token = links.make(Admitted("ann", ConsoleRole.OPERATOR))
        with ThreadPoolExecutor(8) as pool:
            assert sum(one is not None for one in pool.map(links.take, [token] * 8)) == 1


def test_a_link_ends_and_its_token_lies_nowhere(tmp_path):
    now = [system_clock()]
    links = Links(tmp_path / "links", lambda: now[0])
    token = links.make(Admitted("ann", ConsoleRole.VIEWER))
    kept = list((tmp_path / "links").iterdir())
    assert not any(token in path.name or token.encode() in path.read_bytes() for path in kept)
    assert {path.stat().st_mode & 0o777 for path in [*kept, tmp_path / "links"]} == {0o600, 0o700}
    now[0] += LINK_MS
    assert links.take(token) is None
    links.make(Admitted("ann", ConsoleRole.VIEWER))
    assert len(list((tmp_path / "links").iterdir())) == 1


def test_of_a_persons_links_the_newest_few_are_open_and_nobody_elses_is_read_or_closed(tmp_path, monkeypatch):
    links = Links(tmp_path, system_clock)
    other = links.make(Admitted("ann", ConsoleRole.OPERATOR))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", None)
        tokens = [links.make(Admitted("eve", ConsoleRole.VIEWER, "eve")) for _ in range(30)]
    assert len(list(tmp_path.iterdir())) == 5
    assert [token for token in tokens if links.take(token) is not None] == tokens[-4:]
    assert links.take(other) == Admitted("ann", ConsoleRole.OPERATOR)


def test_who_signs_in_again_and_again_signs_nobody_else_out():
    sessions = Sessions()
    operator = sessions.begin(Admitted("ann", ConsoleRole.OPERATOR))[0]
    viewers = [sessions.begin(Admitted("eve", ConsoleRole.VIEWER, "eve"))[0] for _ in range(70)]
    assert sessions.find(operator) is not None
    assert [cookie for cookie in viewers if sessions.find(cookie)] == viewers[-8:]
    for number in range(100):  # everybody's together are many
        last = sessions.begin(Admitted(f"viewer {number}", ConsoleRole.VIEWER))[0]
    assert sessions.find(operator) is not None
    assert sessions.find(last) is not None
    operators = [sessions.begin(Admitted(f"op {number}", ConsoleRole.OPERATOR))[0] for number in range(64)]
    assert sessions.find(last) is None
    assert sessions.find(operator) is None
    assert sum(sessions.find(cookie) is not None for cookie in operators) == 64


@pytest.mark.parametrize("token", ["", "x" * 43, "x" * 42 + "\u00e9", "../server", "x" * 10_000, None, 7, ["a"]])
def test_what_is_no_token_lets_nobody_in(shown, token):
    with shown.browser() as somebody:
        assert reason(somebody.sign_in(token)) in {"bad_link", "too_large"}
        assert COOKIE not in somebody.client.cookies


def test_what_is_not_even_text_is_no_link_and_counts_as_none(tmp_path):
    with console(tmp_path) as shown, shown.browser() as somebody:
        headers = {**somebody.own, "content-type": "application/json"}
        said = [
            reason(somebody.client.post("/v1/console/sign-in", content=rb'{"token": "\ud800"}', headers=headers))
            for _ in range(21)
        ]
        assert said == ["malformed"] * 21  # as is what is no JSON: nothing can be guessed by it
        assert somebody.sign_in(shown.link()).status_code == 200


def test_the_cookie_is_for_this_host_over_tls_alone_and_no_script_reads_it(shown):
    with shown.browser() as somebody:
        cookie = somebody.sign_in(shown.link()).headers["set-cookie"]
    name, *rest = [part.strip() for part in cookie.split(";")]
    assert name.startswith("__Host-")
    assert {part.lower() for part in rest} >= {"secure", "httponly", "samesite=strict", "path=/"}
    assert not any(part.lower().startswith("domain") for part in rest)


@pytest.mark.parametrize("path", OPEN)
def test_nobody_is_shown_anything_without_a_session(shown, path):
    with shown.browser() as somebody:
        for cookie in (None, "", "x" * 43):
            given = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
            answer = somebody.get(path, **given)
            assert (answer.status_code, reason(answer)) == (401, "not_signed_in")


@pytest.mark.parametrize("path", OPEN)
def test_another_page_is_not_shown_anything_in_somebodys_name(shown, path):
    with shown.person() as somebody:
        for site in ("cross-site", "same-site", "none"):
            answer = somebody.get(path, **{"sec-fetch-site": site})
            assert (answer.status_code, reason(answer)) == (403, "other_origin")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://127.0.0.1.elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["sign-out", "sign-in"])
def test_another_page_changes_nothing_and_signs_nobody_in(shown, path, headers):
    with shown.person() as somebody:
        answer = somebody.post(path, {"token": shown.link()}, **headers)
        assert (answer.status_code, reason(answer)) == (403, "other_origin")
        assert somebody.get("session").status_code == 200


def test_what_changes_something_repeats_the_secret_of_its_own_session(shown):
    with shown.person() as ann, shown.person(who="bob") as bob:
        for secret in ("", "x", ann.csrf[:-1], bob.csrf):
            answer = ann.post("sign-out", **{"x-skerry-csrf": secret})
            assert (answer.status_code, reason(answer)) == (403, "csrf")
        assert ann.get("session").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_form_can_send_is_refused(shown, kind):
    with shown.person() as somebody:
        headers = {**somebody.own, "x-skerry-csrf": somebody.csrf, "content-type": kind}
        answer = somebody.client.post("/v1/console/sign-out", content=b"{}", headers=headers)
        assert (answer.status_code, reason(answer)) == (400, "malformed")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 4000])
def test_what_is_no_object_is_refused(shown, body):
    with shown.person() as somebody:
        headers = {**somebody.own, "x-skerry-csrf": somebody.csrf, "content-type": "application/json"}
        answer = somebody.client.post("/v1/console/sign-out", content=body, headers=headers)
        assert (answer.status_code, reason(answer)) == (400, "malformed")


def test_a_session_ends_when_it_is_signed_out(shown):
    with shown.person() as somebody:
        cookie = somebody.client.cookies[COOKIE]
        assert somebody.post("sign-out").status_code == 200
        assert COOKIE not in somebody.client.cookies
        assert reason(somebody.get("session", cookie=f"{COOKIE}={cookie}")) == "not_signed_in"


def test_a_session_ends_unused_and_in_any_case(shown):
    with shown.person() as somebody:
        shown.time.s += IDLE_S
        assert reason(somebody.get("session")) == "not_signed_in"
    with shown.person() as somebody:
        for _ in range(int(LONGEST_S / IDLE_S) + 1):
            shown.time.s += 0.9 * IDLE_S
            somebody.get("session")
        shown.time.s += 0.9 * IDLE_S
        assert reason(somebody.get("session")) == "not_signed_in"


def test_an_enrolled_operator_gets_in_by_key_and_is_out_with_the_enrolment(shown):
    operator = shown.member("olga", Role.OPERATOR)
    told = shown.gateway.get("/v1/console-link", operator).json()
    assert told["role"] == "operator"
    with shown.browser() as somebody:
        assert somebody.sign_in(told["token"]).json()["who"] == "olga"
        assert somebody.get("session").status_code == 200
        shown.federation.revoke("olga")
        assert reason(somebody.get("session")) == "not_signed_in"
    assert reason(shown.gateway.get("/v1/console-link", operator)) == "not_authentic"


@contextmanager
def _member_in(shown, name: str) -> Iterator[Person]:
    """A browser that an enrolled operator is signed in with."""
    shown.member(name, Role.OPERATOR)
    with shown.browser() as somebody:
        token = shown.links.make(Admitted(name, ConsoleRole.OPERATOR, name))
        assert somebody.sign_in(token).status_code == 200
        yield somebody


def test_a_registry_that_takes_its_time_keeps_nobody_else_waiting(shown, monkeypatch):
    asked, go_on, went_on = Event(), Event(), []
    find = shown.federation.devices.find

    def slow(*given):
        asked.set()
        went_on.append(go_on.wait(180))
        return find(*given)

    with _member_in(shown, "otto") as somebody, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(shown.federation.devices, "find", slow)
        answer = pool.submit(somebody.get, "session")
        assert asked.wait(180)
        assert shown.gateway.client.get("/healthz").status_code == 200
        go_on.set()
        assert answer.result().status_code == 200
    assert went_on == [True]  # while it was still asked


def test_a_registry_that_does_not_answer_is_not_waited_for_and_signs_nobody_out(shown, monkeypatch):
    go_on, find, asked = Event(), shown.federation.devices.find, []

    def stuck(*given):
        asked.append(given)
        assert go_on.wait(180)
        return find(*given)

    monkeypatch.setattr("skerry.server.console.access._PATIENCE_S", 0.05)
    with _member_in(shown, "odile") as somebody:
        with monkeypatch.context() as patch:
            patch.setattr(shown.federation.devices, "find", stuck)
            assert [reason(somebody.get("session")) for _ in range(5)] == ["server_failed"] * 5
            go_on.set()
        assert len(asked) == 2  # the others were given up before anybody asked
        monkeypatch.undo()
        assert somebody.get("session").status_code == 200


def test_a_registry_that_cannot_be_read_signs_nobody_out(shown, monkeypatch):
    def away(*_):
        raise RegistryError("the database is away")

    with _member_in(shown, "olga-2") as somebody:
        with monkeypatch.context() as patch:
            patch.setattr(shown.federation.devices, "find", away)
            for path in OPEN:
                answer = somebody.get(path)
                assert (answer.status_code, reason(answer)) == (503, "server_failed")
            assert reason(somebody.post("sign-out")) == "server_failed"
        assert somebody.get("session").status_code == 200
        with somebody.events() as events, monkeypatch.context() as patch:
            assert next(events)["event"] == "all"
            patch.setattr(shown.federation.devices, "find", away)
            shown.federation.enrol(Agent("pi-news"))
            assert "over" not in [event["event"] for event in events]  # it ends, and the browser asks again
        assert somebody.get("session").status_code == 200


def test_an_auditor_may_look_and_a_device_or_publisher_may_not(shown):
    auditor = shown.member("aude", Role.AUDITOR)
    assert shown.gateway.get("/v1/console-link", auditor).json()["role"] == "viewer"
    for name, role in (("pi-1", Role.DEVICE), ("pub", Role.PUBLISHER)):
        answer = shown.gateway.get("/v1/console-link", shown.member(name, role))
        assert (answer.status_code, reason(answer)) == (403, "wrong_role")
    stranger = Signing("olaf")
    assert reason(shown.gateway.get("/v1/console-link", stranger)) == "not_authentic"
    assert reason(shown.gateway.client.get("/v1/console-link")) == "not_signed"


def test_the_page_is_for_everybody_and_runs_no_script_but_its_own(shown):
    answer = shown.gateway.client.get("/console/")
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert shown.gateway.client.get("/console", follow_redirects=False).headers["location"] == "/console/"


def test_signing_in_fails_a_few_times_from_one_address_and_no_more(tmp_path):
    with console(tmp_path) as shown, shown.browser() as somebody:
        said = [reason(somebody.sign_in("x" * 43)) for _ in range(22)]
        assert said == ["bad_link"] * 20 + ["too_many"] * 2
        answer = somebody.sign_in(shown.link())
        assert (answer.status_code, reason(answer)) == (429, "too_many")
        assert int(answer.headers["retry-after"]) >= 1
        assert json.loads(answer.content)["error"]["what"] == "asked too often"
