"""A phone as its owner has it: the built page in headless Chromium at a phone's size, in a profile of its own.

Digits come to it as photographs from the phone's files, dark ink on white paper: the page finds the ink itself.
"""

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from _harness import NotMeasuredError
from _pages import PATIENCE_S, Pages

_HELP = """
    const seen = (name) => document.querySelector(name);
    const title = () => seen(".status-title").textContent;
    const guess = () => seen(".guess").textContent;
    const until = async (what, seconds = 60) => {
        for (const end = Date.now() + 1000 * seconds; !what(); await new Promise((later) => setTimeout(later, 5)))
            if (Date.now() > end)
                throw new Error(`${what} never came: ${title()}; ${guess()}; ${seen(".camera-message").textContent}`);
    };
    const photograph = async (rows) => {
        const small = new OffscreenCanvas(8, 8), paper = new OffscreenCanvas(224, 224);
        const pixels = small.getContext("2d").createImageData(8, 8);
        rows.forEach((ink, at) => pixels.data.set([255 - ink, 255 - ink, 255 - ink, 255], 4 * at));
        small.getContext("2d").putImageData(pixels, 0, 0);
        const drawn = paper.getContext("2d");
        drawn.fillStyle = "#fff";
        drawn.fillRect(0, 0, 224, 224);
        drawn.drawImage(small, 32, 32, 160, 160);
        const files = new DataTransfer();
        files.items.add(new File([await paper.convertToBlob()], "digit.png", { type: "image/png" }));
        return files.files;
    };
    const choose = (files) => {
        seen("#picture-file").files = files;
        seen("#picture-file").dispatchEvent(new Event("change"));
    };
    const stored = (store, key) => new Promise((resolve, reject) => {
        const asked = indexedDB.open("skerry-phone");
        asked.onerror = () => reject(asked.error);
        asked.onsuccess = () => {
            const found = asked.result.transaction(store).objectStore(store);
            const got = key === undefined ? found.getAll() : found.get(key);
            got.onsuccess = () => { asked.result.close(); resolve(got.result); };
        };
    });
    const isDebit = (line) => line.includes('"kind":"debit"');
    const underWay = () => new Promise((resolve, reject) => {  // of the same instant: debits, and is there an answer
        const asked = indexedDB.open("skerry-phone");
        asked.onerror = () => reject(asked.error);
        asked.onsuccess = () => {
            const both = asked.result.transaction(["ledger", "state"]);
            const lines = both.objectStore("ledger").getAll(), answer = both.objectStore("state").get("answer");
            both.oncomplete = () => {
                asked.result.close();
                resolve([lines.result.filter(isDebit).length, answer.result !== undefined]);
            };
        };
    });
    const reload = () => {
        sessionStorage.setItem("reloads", 1 + Number(sessionStorage.getItem("reloads")));
        location.reload();
    };
"""
_JOIN = """async (name) => {
    await until(() => seen("form button.primary")?.checkVisibility() && document.body.innerText.includes("Join "));
    seen("#name").value = name;
    [...document.querySelectorAll("button")].find((one) => one.textContent === "Allow and join").click();
    await until(() => seen(".status")?.checkVisibility());
}"""
_KEEP = """async (given) => {
    for (const [rows, label] of given) {
        const count = document.querySelectorAll(".thumbnail").length;
        choose(await photograph(rows));
        await until(() => seen(".pad-hint").classList.contains("gone"));
        seen(`.label[data-label="${label}"]`).click();
        await until(() => document.querySelectorAll(".thumbnail").length > count);
    }
}"""
_GUESS = """async (given) => {
    const said = [], ms = [];
    for (const rows of given) {
        seen('[aria-label="Clear the pad"]').click();
        await until(() => guess().startsWith("The model guesses"));
        const files = await photograph(rows), begin = performance.now();
        choose(files);
        await until(() => guess().startsWith("The model says"));
        ms.push(performance.now() - begin);
        said.push(guess());
    }
    return { said, ms, round: (await stored("state", "head")).round };
}"""
_TIME = """() => {
    globalThis.moves = [];
    const bar = seen(".status-bar");
    new MutationObserver(() => {
        if (title() === "Training") moves.push([performance.now(), Number(bar.style.getPropertyValue("--share"))]);
    }).observe(bar, { attributes: true, attributeFilter: ["style"] });
}"""
_RELOADS_AT = """(words) => {  // from within: whoever watches from outside comes too late
    const watch = new MutationObserver(() => {
        if (title() !== words) return;
        watch.disconnect();
        reload();
    });
    watch.observe(seen(".status-title"), { childList: true, characterData: true, subtree: true });
}"""
_RELOADS_IN_TRAINING = """() => void (async () => {  // also from within
    const [debits] = await underWay();
    for (;;) {
        const [now, answered] = await underWay();
        if (now > debits && !answered) return reload();
        await new Promise((later) => setTimeout(later, 2));
    }
})()"""
_RELOADS = """() => Number(sessionStorage.getItem("reloads"))"""
_ROUNDS = """async (count) => until(() => document.querySelectorAll(".round").length >= count, 300)"""
_KEPT = """async () => {
    const lines = await stored("ledger");
    return [lines.filter(isDebit).length, (await stored("examples")).length];
}"""


@dataclass(frozen=True)
class Guesses:
    """What the page said of digits, one after the other."""

    said: Sequence[int]
    ms: Sequence[float]
    """From choosing a picture until its guess is there to be seen."""
    round: int
    """Whose head it was: 0 for that of public data, else of the model after so many rounds."""

    def right(self, labels: Sequence[int]) -> list[bool]:
        """Of each digit."""
        return [said == int(label) for said, label in zip(self.said, labels, strict=True)]


class PhonePage:
    """What its owner does with it; each raises :class:`NotMeasuredError` where the page does something else."""

    def __init__(self, browser: Pages, name: str) -> None:
        self._browser, self.name = browser, name
        self.reloads = 0

    def join(self, link: str) -> None:
        self._browser.do("open", self.name, url=link)
        self._run(_JOIN, self.name)

    def keep(self, pictures: npt.NDArray[np.uint8], labels: Sequence[int]) -> None:
        """Show each digit and say what it is."""
        self._run(_KEEP, [[rows, int(label)] for rows, label in zip(_rows(pictures), labels, strict=True)])

    def guesses(self, pictures: npt.NDArray[np.uint8]) -> Guesses:
        """Show each digit and read what the model says."""
        found = self._run(_GUESS, _rows(pictures))
        said = [re.match(r"The model says (\d), ", one) for one in found["said"]]
        if None in said:
            raise NotMeasuredError(f"{self.name} names no digit: {found['said']}")
        return Guesses([int(one[1]) for one in said if one], found["ms"], found["round"])

    def reload_when(self, words: str) -> None:
        """It is reloaded in the middle of a round, as soon as that stands above it; returns when it was."""
        self._reload(_RELOADS_AT, words)

    def reload_in_training(self) -> None:
        """It is reloaded when its ledger has the next debit and no answer is kept yet; returns when it was."""
        self._reload(_RELOADS_IN_TRAINING, "a debit without an answer")

    def _reload(self, code: str, awaited: str) -> None:
        before = self._run(_RELOADS)
        self._run(code, awaited)
        end = time.monotonic() + PATIENCE_S
        while self._reloads() in {None, before}:
            if time.monotonic() > end:
                raise NotMeasuredError(f"{self.name} never came to {awaited!r}")
            time.sleep(0.2)
        self.reloads = before + 1

    def _reloads(self) -> int | None:
        """None while it is on its way."""
        try:
            return self._run(_RELOADS)
        except NotMeasuredError as error:
            if "context" not in str(error):
                raise
            return None

    def await_rounds(self, count: int) -> None:
        self._run(_ROUNDS, count)

    def note_progress(self) -> None:
        """From now on it is written down when the bar of the training moves: see :meth:`ms_per_example`."""
        self._run(_TIME)

    def ms_per_example(self, examples: int) -> list[float]:
        """Between two moves of the bar that are one example apart."""
        moves = self._run("() => moves")
        pairs = itertools.pairwise(moves)
        return [after - before for (before, was), (after, share) in pairs if round((share - was) * examples) == 1]

    def kept(self) -> tuple[int, int]:
        """Debits in its ledger, and examples."""
        debits, examples = self._run(_KEPT)
        return debits, examples

    def _run(self, code: str, given: Any = None) -> Any:
        return self._browser.do("run", self.name, code=f"(given) => {{ {_HELP} return ({code})(given); }}", given=given)


def _rows(pictures: npt.NDArray[np.uint8]) -> list[list[int]]:
    return pictures.reshape(len(pictures), -1).tolist()
