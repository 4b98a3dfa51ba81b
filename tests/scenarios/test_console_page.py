"""The console in a real browser, at phone width and by keyboard: signed in by a link, live; decisions with a reason."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from skerry.clock import system_clock
from skerry.errors import RegistryError
from skerry.fsio import write_json
from skerry.security.certificates import Role
from skerry.server.console import Admitted, ConsoleRole, Overview
from skerry.server.console.sessions import IDLE_S
from skerry.server.registry import Registry
from tests.sample_run import build
from tests.server._console import Shown, console
from tests.server._federation import Agent
from tests.server._oidc import provider, sign_in_at

from ._phone import MISSING, Browser, PhoneError

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]
_TABS = 60


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with console(tmp_path_factory.mktemp("console") / "runs") as found:
        for name in ("heron", "tern", "gull"):
            found.federation.enrol(Agent(name))
        build(found.runs, ("rounds=20",), state="running", rounds_done=4)
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser") / "log")
    yield found
    found.close()


class Operator:
    """Who has a keyboard, and sees what is on the screen."""

    def __init__(self, browser: Browser, page: str) -> None:
        self._browser, self._page = browser, page

    @classmethod
    def who_signs_in(cls, browser: Browser, shown: Shown, name: str, role: ConsoleRole) -> Self:
        browser.do("open", page=name, url=f"{shown.gateway.url}/console/#sign-in:{shown.link(role, name)}")
        return cls(browser, name)

    def run(self, code: str, given: object = None) -> Any:
        return self._browser.do("run", page=self._page, code=code, given=given)

    def press(self, *keys: str) -> None:
        self._browser.do("keys", page=self._page, keys=list(keys))

    def sees(self, condition: str, seconds: float = 180.0) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"() => Boolean({condition})"):
            assert time.monotonic() < end, (condition, self.run("() => document.body.innerText"))
            time.sleep(0.05)

    def comes_to_see(self, condition: str, seconds: float = 90.0) -> None:
        """The same while the page goes elsewhere and back, in which time nothing can be asked of it."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.sees(condition, end - time.monotonic())
            except PhoneError:
                assert time.monotonic() < end
            else:
                return

    def goes_to(self, name: str) -> None:
        """Press Tab until what has the focus begins with this."""
        said = []
        for _ in range(_TABS):
            self.press("Tab")
            said.append(self.run("() => (document.activeElement.innerText ?? '').trim()"))
            if said[-1].replace("\n", " ").startswith(name):
                return
        raise AssertionError(f"Tab never comes to {name!r}: {said}")

    def hindered(self) -> list[str]:
        return self._browser.do("faults", page=self._page)


def _tile(name: str) -> str:
    return f"[...document.querySelectorAll('.device')].find((one) => one.innerText.includes('{name}'))"


def test_a_device_is_quarantined_by_keyboard_with_a_reason_and_what_others_do_is_seen_at_once(
    shown: Shown, browser: Browser
):
    olga = Operator.who_signs_in(browser, shown, "olga", ConsoleRole.OPERATOR)
    olga.sees("document.querySelector('#line').innerText.includes('live')")
    assert olga.run("() => location.hash") == ""  # a link is not left in what people share
    olga.sees("document.querySelectorAll('#run tbody tr').length === 4")
    assert "δ = 1e-5, example level, add/remove" in olga.run("() => document.querySelector('#run').innerText")
    assert olga.run("() => document.documentElement.scrollWidth") == 360
    assert olga.hindered() == []
    olga.run("() => document.querySelector('#theme').click()")
    assert olga.hindered() == []

    olga.goes_to("○ heron")
    olga.press("Enter")
    olga.sees("document.querySelector('#device').open")
    assert olga.hindered() == []
    olga.goes_to("Quarantine")
    olga.press("Enter")
    olga.sees("document.querySelector('#decide').open")
    assert olga.hindered() == []
    olga.press("Enter")  # without a reason nothing is decided
    assert olga.run("() => document.querySelector('#decide').open")
    olga.press(*"stolen", "Enter")
    olga.sees("!document.querySelector('#decide').open")
    olga.sees(f"{_tile('heron')}?.dataset.state === 'quarantined'")
    olga.sees("document.querySelector('#device .facts').innerText.includes('by olga: stolen')")
    found = Registry(shown.runs).find("heron")
    (kept,) = Registry(shown.runs).quarantined(found.scope).values()
    assert (kept.by, kept.why) == ("olga", "stolen")
    olga.press("Escape")
    focused = f"document.activeElement === {_tile('heron')}"
    assert olga.run(f"() => {focused}")  # as before the dialog
    shown.federation.revoke("tern")
    olga.sees(f"{_tile('tern')}?.dataset.state === 'revoked'")
    assert olga.run(f"() => {focused}")  # whatever comes in


def test_a_viewer_is_offered_nothing_and_is_out_when_the_session_ends(shown: Shown, browser: Browser):
    vera = Operator.who_signs_in(browser, shown, "vera", ConsoleRole.VIEWER)
    vera.sees("document.querySelectorAll('.device').length >= 3")
    assert vera.run("() => document.querySelectorAll('#run .buttons button').length") == 0
    vera.run(f"() => {_tile('gull')}.click()")
    vera.sees("document.querySelector('#device').open")
    assert vera.run("() => document.querySelectorAll('#device .buttons button').length") == 0
    shown.time.s += IDLE_S
    registry = Registry(shown.runs)
    registry.quarantine(registry.find("gull"), by="ann", why="x", now=system_clock())
    vera.sees("document.querySelector('#sign-in').innerText.includes('The session has ended')")
    assert vera.run("() => document.querySelector('#board').hidden")
    vera.run("() => document.querySelector('#device').close()")
    assert vera.hindered() == []


def test_while_the_registry_is_away_nobody_is_signed_out_and_then_the_page_goes_on(
    shown: Shown, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: object) -> None:
        raise RegistryError("the database is away")

    shown.member("otto", Role.OPERATOR)
    token = shown.links.make(Admitted("otto", ConsoleRole.OPERATOR, "otto"))
    browser.do("open", page="otto", url=f"{shown.gateway.url}/console/#sign-in:{token}")
    otto = Operator(browser, "otto")
    otto.sees("document.querySelector('#line').innerText.includes('live')")
    with monkeypatch.context() as patch:
        patch.setattr(shown.federation.devices, "find", away)
        shown.federation.enrol(Agent("plover"))
        otto.sees("document.querySelector('#line').innerText.includes('asking again')")
        assert not otto.run("() => document.querySelector('#board').hidden")
    otto.sees(f"{_tile('plover')}")


def test_an_enrolled_device_is_not_shown_with_what_a_simulated_one_of_its_name_did(shown: Shown, browser: Browser):
    run = build(shown.runs, ("rounds=3", "name=names"), state="running", rounds_done=2)
    facts = Overview(shown.runs, system_clock).look()
    name = next(one["device"] for key, one in facts.items() if key.startswith(f"verdict/{run.id}/"))
    shown.federation.enrol(Agent(name))
    olga = Operator.who_signs_in(browser, shown, "olga", ConsoleRole.OPERATOR)
    scope = facts[f"run/{run.id}"]["scope"]
    for key, spent in ((f"device/real/harbour/{name}", False), (f"device/simulated/{scope}/{name}", True)):
        tile = f"document.querySelector('.device[data-key=\"{key}\"]')"
        olga.sees(f"{tile} && document.querySelector('#run h3').innerText === '{run.id}'")
        assert ("ε" in olga.run(f"() => {tile}.querySelector('.spent').textContent")) is spent
        olga.run(f"() => {tile}.click()")
        olga.sees("document.querySelector('#device').open")
        told = olga.run("() => document.querySelector('#device').innerText")
        assert ("asked to spend" in told.lower()) is spent
        assert ("No verdict but acceptance" in told) is not spent
        olga.run("() => document.querySelector('#device').close()")


def test_a_simulation_is_not_offered_to_be_published(shown: Shown, browser: Browser):
    simulated = build(shown.runs, ("rounds=3", "name=made-up"))
    real = build(shown.runs, ("rounds=3", "name=of-the-fleet"))
    write_json(real.path / "status.json", {**real.status, "engine": "fleet", "federation": "harbour"})
    olga = Operator.who_signs_in(browser, shown, "olga", ConsoleRole.OPERATOR)
    offers = "[...document.querySelectorAll('#run .buttons button')].some((one) => one.innerText.startsWith('Publish'))"
    pick = """(id) => { const pick = document.querySelector('#run-pick'); pick.value = id;
                        pick.dispatchEvent(new Event('change')); }"""
    for folder, offered in ((real, True), (simulated, False)):
        olga.sees(f"[...document.querySelectorAll('#run-pick option')].some((one) => one.value === '{folder.id}')")
        olga.run(pick, folder.id)
        olga.sees(f"document.querySelector('#run h3').innerText === '{folder.id}'")
        assert olga.run(f"() => {offers}") is offered


def test_a_link_that_was_used_says_so(shown: Shown, browser: Browser):
    token = shown.link()
    with shown.browser() as first:
        assert first.sign_in(token).status_code == 200
    browser.do("open", page="late", url=f"{shown.gateway.url}/console/#sign-in:{token}")
    end = time.monotonic() + 180
    while "does not work" not in browser.do("run", page="late", code="() => document.body.innerText"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_page_is_the_files_that_are_packaged(shown: Shown):
    page = Path(__file__).parents[2] / "server" / "console" / "web"
    for path in page.iterdir():
        answer = shown.gateway.client.get(f"/console/{path.name}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes())


def test_a_person_whom_an_openid_provider_knows_signs_in_by_the_page_s_button(browser: Browser, tmp_path: Path):
    with provider(tmp_path / "login") as login, console(tmp_path / "runs", sign_in_at(login, tmp_path)) as shown:
        browser.do("open", page="ann", url=f"{shown.gateway.url}/console/")
        ann = Operator(browser, "ann")
        ann.sees("document.querySelector('#sign-in-oidc-go').innerText === 'Sign in at Harbour login'")
        login.claims = {"groups": []}
        ann.goes_to("Sign in at")
        ann.press("Enter")
        ann.comes_to_see("document.querySelector('#sign-in-why').innerText.startsWith('Nobody was let in: no role')")
        ann.sees("document.querySelector('#sign-in-oidc-go').innerText !== ''")
        login.claims = {}
        ann.goes_to("Sign in at")
        ann.press("Enter")
        ann.comes_to_see("document.querySelector('#who').innerText === 'ann (Harbour login, sub 7), viewer'")
        ann.sees("document.querySelector('#line').innerText.includes('live')")
        assert ann.run("() => location.hash") == ""  # neither code nor state is left in what people share
        assert ann.hindered() == []


def test_a_link_with_an_answer_that_this_tab_did_not_ask_for_ends_no_session(browser: Browser, tmp_path: Path):
    with provider(tmp_path / "login") as login, console(tmp_path / "runs", sign_in_at(login, tmp_path)) as shown:
        page = f"{shown.gateway.url}/console/"
        browser.do("open", page="eva", url=f"{page}#sign-in:{shown.link(ConsoleRole.OPERATOR, 'eva')}")
        eva = Operator(browser, "eva")
        eva.sees("document.querySelector('#who').innerText === 'eva, operator'")
        eva.run("() => { location.hash = 'state=x&code=y'; location.reload(); }")
        eva.comes_to_see("location.hash === '' && document.querySelector('#who').innerText === 'eva, operator'")
