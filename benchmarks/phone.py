"""What a phone loads to be a device, and how soon it shows its page.

``weight``: bytes of the built page as the gateway sends them, WebAssembly included; without what only check.html loads.
``load``: the page in headless Chromium from a real `skerry server up` on this machine, with nothing kept from before.
``rounds``: two phones and two agents finish a run; what a phone reads before and after it, and reloads in the middle.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from _agent_fleet import servers
from _harness import Claim, NotMeasuredError, Peer, Samples, main, progress, versions
from _pages import chromium, pages
from _phone_rounds import AGENTS, KEPT, PHONES, ROUNDS, Outcome, learned

from skerry.server.gateway.web_page import BUILT

_TIMES, RISE = 7, 0.05
_SHOWN = """async () => {
    const shown = () => performance.getEntriesByName('skerry-shown')[0];
    while (shown() === undefined) await new Promise((later) => setTimeout(later, 5));
    return shown().startTime;
}"""


def weight(_folder: Path) -> Iterator[Claim]:
    """Files that the service worker keeps, and the WebAssembly that it keeps once it was loaded."""
    kept = json.loads(json.loads('"' + _between(_built("sw.js").read_text(), 'JSON.parse("', '")') + '"'))
    names = {"index.html" if name == "./" else name.removeprefix("./") for name in kept["files"]} | {"sw.js"}
    wasm = [path.relative_to(BUILT).as_posix() for path in BUILT.glob("assets/*.wasm")]
    shell = sum(_sent(name) for name in names)
    whole = shell + sum(_sent(name) for name in wasm)
    raw = sum((BUILT / name).stat().st_size for name in [*names, *wasm])
    text = "what opens the page and starts the device, as sent (Brotli)"
    yield Claim("shell_weight", text, shell / 1e3, "KB", "<=", 200, detail={"files": len(names)})
    yield Claim("page_weight", "with the runtime of models (WebAssembly), as sent", whole / 1e6, "MB", "<=", 4,
                detail={"unpacked_mb": round(raw / 1e6, 2)})  # fmt: skip


def load(folder: Path) -> Iterator[Claim]:
    """From asking for the page until it shows what this phone is, over loopback; a new browser profile each time."""
    _built("index.html")
    command = chromium()
    with servers(folder) as federation:
        taken = Samples(list(_loads(command, f"{federation.gateway}/phone/", folder / "pages.log")))
    yield Claim("first_load", "until the page shows what the phone is, median", taken.median, "ms", "<=", 2000,
                spread=taken.spread)  # fmt: skip


def _loads(command: Sequence[str], url: str, log: Path) -> Iterator[float]:
    with pages(command, log) as browser:
        for turn in range(_TIMES + 1):
            browser.do("open", str(turn), url=url)
            shown = browser.do("run", str(turn), code=_SHOWN)
            browser.do("close", str(turn))
            if turn > 0:  # the first one starts the browser's own processes
                progress(f"load: {shown:.0f} ms")
                yield shown


def rounds(folder: Path) -> Iterator[Claim]:
    """One run of the shipped recipe with nobody hostile; see ``_phone_rounds.py``."""
    _built("index.html")
    found = learned(folder)
    everybody = {*PHONES, *AGENTS}
    whole = sum(everybody == set(counted) for counted in found.counted)
    yield Claim("phone_rounds", "rounds of five in which two phones and two agents are counted", whole, "rounds", ">=",
                ROUNDS, detail={"counted": [sorted(counted) for counted in found.counted]})  # fmt: skip
    yield _rise(found)
    took, guesses = Samples(found.ms), Samples(found.guess_ms)
    yield Claim("ms_per_example", "features of one example in the page's Worker, another phone and two agents working",
                took.median, "ms", "<=", 250, spread=took.spread)  # fmt: skip
    yield Claim("guess_ms", "from choosing a picture until its guess is seen, while nobody trains, median",
                guesses.median, "ms", "<=", 250, spread=guesses.spread)  # fmt: skip
    debits = 1 + ROUNDS  # the first run has one
    lost = ROUNDS - whole + sum(abs(a - debits) + abs(b - KEPT) for a, b in found.kept.values())
    yield Claim("reload_loses_nothing", "rounds, debits or examples too few or too many; a phone is reloaded between "
                "its debit and its answer, and as it begins to send one", lost, "things", "<=", 0,
                detail={"reloads": found.reloads, "debits_examples": found.kept})  # fmt: skip


def _rise(found: Outcome) -> Claim:
    """The phone's guesses of the same digits by the first and the last head that came to it."""
    tried = len(found.before)
    before, after = sum(found.before) / tried, sum(found.after) / tried
    public = Peer("the head of public digits, the same phone and digits", before)
    return Claim(
        "phone_accuracy_rises", f"more of {tried} digits of held-out writers that a phone reads right after the run",
        after - before, "share", ">=", RISE, public,
        detail={
            "before": before, "after": after, "heads_after_rounds": found.heads,
            "only_after": sum(b and not a for a, b in zip(found.before, found.after, strict=True)),
            "only_before": sum(a and not b for a, b in zip(found.before, found.after, strict=True)),
            "evaluated_by_the_coordinator": found.evaluated,
        },
    )  # fmt: skip


def _built(name: str) -> Path:
    if not (BUILT / name).is_file():
        raise NotMeasuredError("there is no built page: `make web`")
    return BUILT / name


def _sent(name: str) -> int:
    packed = BUILT / f"{name}.br"
    return (packed if packed.is_file() else BUILT / name).stat().st_size


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0]


if __name__ == "__main__":
    main("phone", {"weight": weight, "load": load, "rounds": rounds}, versions("skerry", "starlette", "uvicorn"))
