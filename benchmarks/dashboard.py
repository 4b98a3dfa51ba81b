"""The operator's console in headless Chromium, at a real `skerry server up` on this machine.

``watched``: twenty enrolled devices (real agents) take part in a run that is watched as it happens; then, by the page's
own buttons, one of them is put into quarantine and revoked, after which the gateway refuses it, and the run's model is
published. ``many``: 200 devices, whose files are written by the real writers while the page looks: how long it takes
from a write to the screen.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from _agent_fleet import SKERRY, Federation, enrol, key_file, servers, start, stop
from _dashboard_fleet import UnderWay, enrol_all
from _harness import HERE, PYTHON, Claim, NotMeasuredError, Samples, main, progress, run, versions
from _pages import Pages, chromium, pages

from skerry.cli.gateway_source import gateway_source
from skerry.cli.keystore_options import open_store
from skerry.errors import RefusedError
from skerry.runfolder import RunFolder, list_runs

_DEVICES, _ROUNDS = 20, 3
_MANY, _MANY_ROUNDS = 200, 12
_PRIVACY = {"unit": "example", "epsilon": 20.0, "delta": 1e-5}
_SCENARIO = ("rounds", _ROUNDS), ("attack.kind", "none"), ("attack.devices", 0), ("defence.tolerate", 0)
_PLAIN = ("defence.aggregator", "mean"), ("report.references", "false"), ("cohort.deadline_s", 300)
_RUN_S = 900.0
_SEEN_S = 20.0
_SEES = """async () => {
    const end = Date.now() + %d;
    const frame = () => new Promise((later) => requestAnimationFrame(later));
    for (;;) {
        await frame();
        if (%s) return Date.now();
        if (Date.now() > end) return null;
    }
}"""


class Screen:
    """The console in a browser, and what is to be seen there."""

    def __init__(self, browser: Pages, federation: Federation) -> None:
        words = ["server", "console", "--runs-dir", federation.runs, "--by", "olga", "--json"]
        link = run([*SKERRY, *words], timeout_s=60).document["link"]
        self._browser = browser
        browser.do("open", "console", url=f"{federation.gateway}/console/{link[link.index('#') :]}")
        self.sees("document.querySelector('#line').dataset.state === 'live'")

    def sees(self, what: str, seconds: float = _SEEN_S) -> float:
        """When something was on the screen, seconds since the epoch: a condition on the page's elements.

        Raises:
            NotMeasuredError: it never was.
        """
        seen = self._browser.do("run", "console", code=_SEES % (1000 * seconds, what))
        if seen is None:
            raise NotMeasuredError(f"never seen: {what}")
        return seen / 1000

    def state(self, device: str) -> str:
        """The condition that a device's tile says …"""
        tiles = "[...document.querySelectorAll('.device')]"
        return f"{tiles}.find((one) => one.querySelector('.name').textContent === '{device}')?.dataset.state"

    def decides(self, action: str, words: dict[str, str], *, device: str | None = None) -> None:
        """Go through the page's own dialog, as a person does."""
        where = "#device" if device else "#run"
        look = f"{self.state(device)[: -len('?.dataset.state')]}.click();" if device else ""
        typed = "".join(
            f"document.querySelector('#decide [name={name}]').value = {json.dumps(text)};"
            for name, text in words.items()
        )
        code = f"""async () => {{ {look}
            const button = [...document.querySelectorAll('{where} .buttons button')];
            button.find((one) => one.textContent.toLowerCase().startsWith('{action}')).click();
            {typed}
            document.querySelector('#decide form').requestSubmit();
        }}"""
        self._browser.do("run", "console", code=code)
        said = "document.querySelector('#decide .error')?.textContent"
        self.sees(f"!document.querySelector('#decide').open || {said}", 300)
        if told := self._browser.do("run", "console", code=f"() => document.querySelector('#decide').open && {said}"):
            raise NotMeasuredError(f"{action}: {told}")
        self._browser.do("run", "console", code="() => document.querySelector('#device').close()")

    def faults(self) -> list[str]:
        """What axe finds that is serious or critical."""
        return self._browser.do("faults", "console")


def watched(folder: Path) -> Iterator[Claim]:
    """A run of twenty devices from its beginning to its release, and what an operator does meanwhile."""
    key, names = key_file(folder), [f"pi-{number:02d}" for number in range(1, _DEVICES + 1)]
    homes = [folder / name for name in names]
    with servers(folder) as federation, pages(chromium(), folder / "pages.log") as browser:
        _repository(federation)
        for at, home in enumerate(homes):
            enrol(federation.invitation("pi"), home, key, holder=f"writer-{at % 11:02d}", privacy=_PRIVACY)
            progress(f"watched: {home.name} is enrolled")
        screen = Screen(browser, federation)
        with _devices(folder, key, homes), _run(folder, federation) as wrote:
            delays = [screen.sees(_round(number), _RUN_S) - wrote(number) for number in range(1, _ROUNDS + 1)]
            spread = f"{min(delays):.2f} to {max(delays):.2f}"
            progress(f"watched: rounds were seen {spread} s after they were on disk")
            screen.sees("document.querySelector('.state').dataset.state === 'complete'", _RUN_S)
        said = {"slowest_s": round(max(delays), 3)}
        text = "rounds of the run that were seen as they came"
        yield Claim("rounds_seen", text, len(delays), "rounds", ">=", _ROUNDS, detail=said)
        yield from _decided(screen, federation, homes[2], key)
        yield from _published(screen)
        yield Claim("axe", "serious or critical findings of axe", len(screen.faults()), "findings", "<=", 0)


def _decided(screen: Screen, federation: Federation, home: Path, key: Path) -> Iterator[Claim]:
    name = home.name
    before = _refused(federation, home, key)
    screen.decides("quarantine", {"reason": "its sensor was opened"}, device=name)
    screen.sees(f"{screen.state(name)} === 'quarantined'")
    screen.decides("revoke", {"typed": name, "reason": "stolen"}, device=name)
    screen.sees(f"{screen.state(name)} === 'revoked'")
    after = _refused(federation, home, key)
    told = {"before": before, "after": after}
    held = before == "wrong_role" and after == "not_authentic"
    yield Claim("revoked_and_refused", "devices put into quarantine, revoked and refused by the page's buttons",
                int(held), "devices", ">=", 1, detail=told)  # fmt: skip
    sees = "document.querySelector('#log').textContent.includes('by olga') && "
    screen.sees(sees + "document.querySelector('#log').textContent.includes('what revoke')")


def _refused(federation: Federation, home: Path, key: Path) -> str:
    """Why the gateway refuses a device what is not for devices: by its role while it is in, else as a stranger."""
    with gateway_source(federation.gateway, home, open_store(home, key)) as source:
        try:
            source.document("/v1/console-link")
        except RefusedError as error:
            return error.reason
    return "nothing"


def _repository(federation: Federation) -> None:
    """An empty one, its keys beside it, where the servers serve from."""
    words = ["release", "init", federation.runs / "repository"]
    run([*SKERRY, *words, "--json"], timeout_s=60)


def _published(screen: Screen) -> Iterator[Claim]:
    shown = "document.querySelectorAll('#releases li').length"
    screen.sees(f"{shown} === 1")  # what the run sealed for those who took part
    screen.decides("publish", {"reason": "better than the last one"})
    screen.sees(f"{shown} === 2")
    yield Claim("published", "releases published by the page's button and seen", 1, "releases", ">=", 1)


def many(folder: Path) -> Iterator[Claim]:
    """200 devices: rounds begin and end, answers come, devices go into quarantine, and the page shows it."""
    with servers(folder) as federation, pages(chromium(), folder / "pages.log") as browser:
        names = [f"pi-{number:03d}" for number in range(_MANY)]
        enrol_all(federation.runs, names)
        run_ = UnderWay(federation.runs, names, _MANY_ROUNDS)
        screen = Screen(browser, federation)
        screen.sees(f"document.querySelectorAll('.device').length === {_MANY}")
        delays: list[float] = []

        def took(do: Callable[[], None], sees: str) -> None:
            do()
            wrote = time.time()
            delays.append(screen.sees(sees) - wrote)

        training = "document.querySelectorAll('.device[data-state=training]').length"
        for number in range(1, _MANY_ROUNDS + 1):
            bad, left = names[number], _MANY - number + 1
            took(lambda number=number: run_.open(number), f"{training} === {left}")
            for answered in range(1, 4):
                one = names[-answered]
                took(
                    lambda number=number, one=one: run_.answer(number, one),
                    f"{screen.state(one)} !== 'training'",
                )
            took(lambda number=number, bad=bad: run_.finish(number, bad), f"{screen.state(bad)} === 'quarantined'")
            progress(f"many: round {number}, the last took {delays[-1]:.2f} s")
        run_.close()
    taken = Samples([1000 * one for one in delays])
    text = "from a write until the page of 200 devices shows it, 95th percentile"
    spread = {**taken.spread, "median": round(taken.median)}
    yield Claim("event_to_screen", text, taken.quantile(0.95), "ms", "<=", 1000, spread=spread)


def _round(number: int) -> str:
    return f'document.querySelector(\'[data-key$="/{number}"][data-key^="round/"]\') !== null'


@contextmanager
def _devices(folder: Path, key: Path, homes: list[Path]) -> Iterator[None]:
    process = start([PYTHON, HERE / "_dashboard_devices.py", key, *homes], folder / "devices.log")
    try:
        yield
    finally:
        stop(process)


@contextmanager
def _run(folder: Path, federation: Federation) -> Iterator[Callable[[int], float]]:
    """``skerry run --engine fleet``; yields what tells when a round was on disk."""
    given = [word for name, value in (*_SCENARIO, *_PLAIN) for word in ("--set", f"{name}={value}")]
    command = [*SKERRY, "run", "digits", "--engine", "fleet", "--runs-dir", federation.runs, "--json", *given]
    process = start(command, folder / "run.log")
    seen: dict[int, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            for one in list_runs(federation.runs)[:1]:
                for number in range(len(seen) + 1, len(_lines(one)) + 1):
                    seen[number] = time.time()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda number: seen[number]
    finally:
        over.set()
        watching.join()
        stop(process)


def _lines(one: RunFolder) -> list[bytes]:
    path = one.path / "rounds.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


if __name__ == "__main__":
    main("dashboard", {"watched": watched, "many": many}, versions("skerry", "starlette", "uvicorn"))
