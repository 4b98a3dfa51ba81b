"""Phones: the core of the browser's device, as it is built, in headless Chromium at a real gateway.

The harness (``device/web/test/e2e``) is the core without a page. It is built as the page is, beside it, and the gateway
of the test serves it in its place, under the same headers.
"""

import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from typer.testing import CliRunner

from skerry.cli import app
from skerry.clock import system_clock
from skerry.device.tasks.digits import _writers
from skerry.server import fleet_server
from skerry.server.gateway.app import gateway

from ._enrolled import Up, up

WEB = Path(__file__).parents[2] / "device" / "web"
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(path).exists()), None)
NODE = shutil.which("node")
MISSING = (
    None
    if CHROMIUM and NODE and (WEB / "node_modules").is_dir()
    else "needs Chromium, node, and `npm ci` in device/web (make web)"
)
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}


def build(folder: Path) -> Path:
    """The harness, built into a folder."""
    command = [
        "node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "error",
        "--config", "test/e2e/vite.config.ts", "--outDir", str(folder),
    ]  # fmt: skip
    subprocess.run(command, cwd=WEB, check=True, env=_ENVIRONMENT)
    return folder


def skerry(*arguments: str) -> None:
    """A command of skerry, which succeeds."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output


@contextmanager
def serving_phones(runs: Path, page: Path) -> Iterator[Up]:
    """A federation whose gateway serves what lies in ``page``."""
    with mock.patch.object(fleet_server, "gateway", functools.partial(gateway, page=page)), up(runs) as fleet:
        yield fleet


_READ = """() => new Promise((resolve, reject) => {
    const asked = indexedDB.open("skerry-phone");
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => {
        const lines = asked.result.transaction("ledger").objectStore("ledger").getAll();
        lines.onsuccess = () => { asked.result.close(); resolve(lines.result); };
    };
})"""

_RELOADS_IN_TRAINING = """() => void (async () => {  // from within: whoever watches from outside comes too late
    const underWay = () => new Promise((resolve, reject) => {
        const asked = indexedDB.open("skerry-phone");
        asked.onerror = () => reject(asked.error);
        asked.onsuccess = () => {
            const both = asked.result.transaction(["ledger", "state"]);
            const lines = both.objectStore("ledger").getAll(), answer = both.objectStore("state").get("answer");
            both.oncomplete = () => {
                asked.result.close();
                const debits = lines.result.filter((line) => line.includes('"kind":"debit"')).length;
                resolve([debits, answer.result !== undefined]);
            };
        };
    });
    const [debits] = await underWay();
    for (;;) {
        const [now, answered] = await underWay();
        if (now > debits && !answered) break;
        await new Promise((later) => setTimeout(later, 2));
    }
    sessionStorage.setItem("reloaded", "in training");
    location.reload();
})()"""


class Browser:
    """A Chromium, driven by lines."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            ["node", "test/e2e/drive.mjs", CHROMIUM],
            cwd=WEB,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_ENVIRONMENT,
        )

    def do(self, name: str, **given: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **given}).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise PhoneError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(180)
        self._log.close()


class PhoneError(AssertionError):
    """What a page threw, in its words."""


class PhonePage:
    """One phone: a page in a profile of its own."""

    def __init__(self, browser: Browser, fleet: Up, name: str, *, hours_off: float = 0.0) -> None:
        self.name = name
        self._browser = browser
        self.address = f"https://{fleet.server.noted.addresses['gateway']}"
        browser.do("open", page=name, url=f"{self.address}/phone/harness.html", off=hours_off * 3_600_000)

    def run(self, code: str, given: Any = None) -> Any:
        return self._browser.do("run", page=self.name, code=code, given=given)

    def reload(self) -> None:
        self._browser.do("reload", page=self.name)

    def reload_in_training(self, seconds: float = 180.0) -> None:
        """Reload it when its ledger has the next debit and no answer is kept yet; returns when it was."""
        self.run(_RELOADS_IN_TRAINING)
        end = time.monotonic() + seconds
        while True:
            with suppress(PhoneError):  # it is on its way
                if self.run("() => sessionStorage.getItem('reloaded')") and self.view:
                    return
            assert time.monotonic() < end, "the phone was never seen to train"
            time.sleep(0.1)

    def close(self) -> None:
        self._browser.do("close", page=self.name)

    def ledger(self) -> list[str]:
        """The lines of its ledger, as they are kept."""
        return self.run(_READ)

    def evict(self) -> None:
        """What a browser does that needs room: the database goes; the page is as if it had just been opened."""
        self._browser.do("evict", page=self.name, url=f"{self.address}/phone/harness.html")

    @property
    def view(self) -> dict[str, Any]:
        """The view as it is after what is kept was looked at."""
        return self.run("async () => { await phone.examples(); return phone.view; }")

    def until(self, condition: str, seconds: float = 180.0) -> dict[str, Any]:
        """The first view that fulfils a condition of JavaScript on ``v``."""
        return self.run(
            f"""(seconds) => new Promise((resolve, reject) => {{
                const late = setTimeout(() => reject(new Error(JSON.stringify(phone.view))), 1000 * seconds);
                phone.subscribe((v) => {{ if ({condition}) {{ clearTimeout(late); resolve(v); }} }});
            }})""",
            seconds,
        )

    def enrol(self, invitation: str, name: str | None = None, epsilon: float = 20.0) -> None:
        terms = {"task": "digits", "unit": "example", "relation": "add/remove", "epsilon": epsilon, "delta": 1e-5}
        self.run(
            "({link, name, terms}) => phone.enrol(readInvite(link), name, terms)",
            {"link": f"{self.address}/phone/#{invitation}", "name": name or self.name, "terms": terms},
        )

    def draw(self, writer: str, count: int) -> None:
        """Examples as somebody would draw them: a writer's digits, eight times as large."""
        data = _writers()[writer]
        pictures = [np.kron(one[..., 0], np.ones((8, 8), np.uint8)).ravel().tolist() for one in data.x[:count]]
        self.run(
            """async (given) => { for (const [gray, label] of given)
                await phone.addExample({ width: 64, height: 64, gray: Uint8Array.from(gray) }, label); }""",
            list(zip(pictures, data.y[:count].tolist(), strict=True)),
        )


def invite(fleet: Up, life: int = 3_600_000, *, approve: bool = True) -> str:
    """An invitation for one phone."""
    return fleet.server.office.invite(
        fleet.server.authority, device_class="phone", by="ann", now=system_clock(), life=life, approve=approve,
        address=f"https://{fleet.server.noted.addresses['gateway']}",
    ).text  # fmt: skip
