"""Headless Chromium, driven by ``device/web/test/e2e/drive.mjs``; whoever does not answer is not waited for."""

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _harness import ROOT, NotMeasuredError

WEB = ROOT / "device" / "web"
PATIENCE_S = 120.0
_CHROMIUM = ("/usr/bin/chromium", "/usr/bin/google-chrome")


class Pages:
    """A Chromium for the time of a block."""

    def __init__(self, process: subprocess.Popen, patience_s: float) -> None:
        self._process, self._patience_s = process, patience_s

    def do(self, name: str, page: str, **given: Any) -> Any:
        """One command of the driver.

        Raises:
            NotMeasuredError: the page failed, or gave no answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Timer(self._patience_s, self._process.kill)
        late.start()
        try:
            self._process.stdin.write(json.dumps({"do": name, "page": page, **given}).encode() + b"\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        finally:
            late.cancel()
        if not said:
            raise NotMeasuredError(f"page {page}: no answer to {name!r} in {self._patience_s:g} s")
        answer = json.loads(said)
        if "error" in answer:
            raise NotMeasuredError(f"page {page}: {answer['error']}")
        return answer["result"]


def chromium() -> list[str]:
    """The command of the driver.

    Raises:
        NotMeasuredError: something that it needs is not there.
    """
    found = next((path for path in _CHROMIUM if Path(path).exists()), None)
    if found is None or shutil.which("node") is None or not (WEB / "node_modules").is_dir():
        raise NotMeasuredError("needs Chromium, node and `npm ci` in device/web")
    return ["node", "test/e2e/drive.mjs", found]


@contextmanager
def pages(command: Sequence[str], log: Path, patience_s: float = PATIENCE_S) -> Iterator[Pages]:
    """What the pages write to their consoles goes to ``log``."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
    try:
        yield Pages(process, patience_s)
    finally:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # it closes the browser, and ends
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
