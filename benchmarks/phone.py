"""What a phone loads to be a device, and how soon it shows its page.

``weight``: bytes of the built page as the gateway sends them, WebAssembly included; without what only check.html loads.
``load``: the page in headless Chromium from a real `skerry server up` on this machine, with nothing kept from before.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from _harness import PYTHON, QUIET, Claim, NotMeasuredError, Samples, main, progress, versions
from _pages import chromium, pages

from skerry.server.gateway.web_page import BUILT

_TIMES, _UP_S = 7, 120.0
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
    up = [PYTHON, "-m", "skerry.cli", "server", "up", "--runs-dir", folder / "runs", "--json"]
    up += ["--port", "0", "--enrolment-port", "0", "--device-port", "0"]
    (folder / "runs").mkdir()
    log = folder / "server.log"
    with log.open("wb") as said, subprocess.Popen(up, stdout=said, stderr=said, env={**os.environ, **QUIET}) as server:
        try:
            address = _address(log)
            taken = Samples(list(_loads(command, f"{address}/phone/", folder / "pages.log")))
        finally:
            server.terminate()
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


def _built(name: str) -> Path:
    if not (BUILT / name).is_file():
        raise NotMeasuredError("there is no built page: `make web`")
    return BUILT / name


def _sent(name: str) -> int:
    packed = BUILT / f"{name}.br"
    return (packed if packed.is_file() else BUILT / name).stat().st_size


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0]


def _address(log: Path) -> str:
    end = time.monotonic() + _UP_S
    while '"expires"' not in log.read_text():
        if time.monotonic() > end:
            raise NotMeasuredError(f"the server did not come up: {log.read_text()[-1000:]}")
        time.sleep(0.2)
    text = log.read_text()
    return f"https://{json.JSONDecoder().raw_decode(text[text.index('{') :])[0]['addresses']['gateway']}"


if __name__ == "__main__":
    main("phone", {"weight": weight, "load": load}, versions("skerry", "starlette", "uvicorn"))
