"""The page as it is built, at a real gateway over HTTPS, by keyboard alone: joining, teaching, rounds, leaving."""

import subprocess
from collections.abc import Iterator

import pytest

from skerry.server.launch import launch

from ._enrolled import Up
from ._phone import MISSING, WEB, Browser, invite, serving_phones
from .test_phone import scenario

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]
_TABS = 60
"""More than there are places for the focus in any state."""
_STROKES = {  # from the middle of the pad, a quarter of its height below its upper edge
    0: "LLLDDDDDDRRRRRRUUUUUULLL",
    1: "DDDDDDDD",
    4: "DDDLLLRRRRRULLDDDDDD",
    7: "LLLRRRRRRDLDLDDLD",
}
_ARROWS = {"L": "ArrowLeft", "R": "ArrowRight", "U": "ArrowUp", "D": "ArrowDown"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    page = tmp_path_factory.mktemp("page")
    build = ["node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "error", "--outDir", str(page)]
    subprocess.run(build, cwd=WEB, check=True)
    with serving_phones(tmp_path_factory.mktemp("runs"), page) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser") / "log")
    yield found
    found.close()


class Person:
    """Who has a keyboard, and reads what is there."""

    def __init__(self, browser: Browser, fleet: Up, name: str, invitation: str) -> None:
        self._browser, self._page = browser, name
        address = f"https://{fleet.server.noted.addresses['gateway']}"
        browser.do("open", page=name, url=f"{address}/phone/#{invitation}")

    def run(self, code: str, given: object = None) -> object:
        return self._browser.do("run", page=self._page, code=code, given=given)

    def press(self, *keys: str) -> None:
        self._browser.do("keys", page=self._page, keys=list(keys))

    def reload(self) -> None:
        self._browser.do("reload", page=self._page)

    def reads(self, words: str, seconds: float = 60.0) -> None:
        """Wait until the words are there to be seen."""
        code = """async ({ words, seconds }) => {
            const end = Date.now() + 1000 * seconds;
            while (!document.body.innerText.includes(words)) {
                if (Date.now() > end) throw new Error(document.body.innerText);
                await new Promise((later) => setTimeout(later, 50));
            }
        }"""
        self.run(code, {"words": words, "seconds": seconds})

    def goes_to(self, name: str) -> None:
        """Press Tab until what has the focus has this name."""
        for _ in range(_TABS):
            self.press("Tab")
            said = self.run("() => (document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()")
            if said == name:
                return
        raise AssertionError(f"Tab never comes to {name!r}")

    def chooses(self, name: str) -> None:
        self.goes_to(name)
        self.press("Enter")

    def draws(self, digit: int) -> None:
        self.goes_to("Drawing pad")
        self.press(" ", *(_ARROWS[one] for one in _STROKES[digit]), " ", str(digit))
        self.reads(f"Kept as {digit}.")
        # back to where the pen begins, for the next one
        self.press(*(_ARROWS["UDRL"["DULR".index(one)]] for one in reversed(_STROKES[digit])))

    @property
    def thumbnails(self) -> list[str]:
        found = self.run("() => [...document.querySelectorAll('.thumbnail-ink')].map((one) => one.ariaLabel)")
        assert isinstance(found, list)
        return found

    def hindered(self) -> object:
        return self._browser.do("faults", page=self._page)


def test_somebody_joins_teaches_pauses_and_leaves_by_keyboard_and_a_reload_keeps_all(fleet: Up, browser: Browser):
    person = Person(browser, fleet, "walk", invite(fleet))
    person.reads("Join")
    assert person.run("() => location.hash") == ""  # an invitation is not left in what people share
    person.reload()
    person.reads("What this phone allows")
    assert person.hindered() == []
    person.chooses("Allow and join")
    person.reads("No examples yet")
    assert person.hindered() == []
    for digit in (1, 7, 4):
        person.draws(digit)
    person.reload()
    person.reads("Waiting for a round")
    person.chooses("Examples")
    person.reads("3 examples")
    assert person.thumbnails == [f"A drawing of {digit}" for digit in (4, 7, 1)]
    assert person.hindered() == []
    person.run("() => document.querySelector('.thumbnail-delete').focus()")
    person.press("Enter")
    person.reads("2 examples")
    focused = person.run("() => document.activeElement.className")
    assert isinstance(focused, str)
    assert focused.endswith("thumbnail-delete")  # not lost with the button that was pressed
    person.chooses("Pause")
    person.reads("Paused")
    person.reload()
    person.reads("Paused")
    person.chooses("Resume")
    person.chooses("Privacy")
    person.reads("ε 8 of the budget is left")
    assert person.hindered() == []
    person.chooses("Leave and erase")
    person.reads("Leave and erase?")
    assert person.hindered() == []
    person.press("Escape")
    person.chooses("Leave and erase")
    person.goes_to("Leave and erase")
    person.press("Enter")
    person.reads("Left. The record of what was spent stays.")
    person.reload()
    person.reads("Join with an invitation")
    assert person.run("() => document.querySelectorAll('.thumbnail').length") == 0


@pytest.mark.slow
def test_rounds_are_told_as_they_come(fleet: Up, browser: Browser):
    given = scenario()
    fleet.enrol("writer-00", given)
    person = Person(browser, fleet, "rounds", invite(fleet))
    person.reads("Join")
    person.chooses("Allow and join")
    person.reads("No examples yet")
    for digit in (1, 7, 4, 0, 1, 7, 4, 0):
        person.draws(digit)
    folder = launch(given, engine="fleet", parent=fleet.runs)
    assert [(len(record.accepted), "writer-00" in record.accepted) for record in folder.rounds()] == [(2, True)] * 2
    person.chooses("Rounds")
    person.reads("Round 2")
    person.reads("8 examples took part")
    assert person.hindered() == []
    person.chooses("Privacy")
    person.reads("Whoever sees all answers of this phone")
    person.reload()
    person.reads("The model guesses as you draw.")  # it was kept, and is known of before the next round
