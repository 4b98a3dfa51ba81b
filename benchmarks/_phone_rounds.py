"""Two phones and two agents finish a run over HTTPS; what one of the phones guesses before it and after it.

The phones' examples are digits of writers of the task's data, the agents have those of two other writers, and what is
guessed was written by the three that never train. A first run, of one round, brings the model to the phones, with the
head of public digits (MNIST), which other people wrote; the second run, of five rounds, begins with that head again.
The phone reads digits by the head that came with a run's last round: what that round adds, no phone has seen.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import numpy as np
from _agent_fleet import SKERRY, Federation, enrol, key_file, servers, start, stop
from _harness import NotMeasuredError, progress
from _pages import chromium, pages
from _phone_page import Guesses, PhonePage

from skerry.config import Scenario, default_scenario
from skerry.device.tasks.digits import DigitsTask
from skerry.records import Examples
from skerry.result import load_result
from skerry.runfolder import RunFolder, list_runs

PHONES = {"phone-1": "writer-05", "phone-2": "writer-07"}
AGENTS = {"pi-1": "writer-00", "pi-2": "writer-01"}
BUDGET = 8.0  # of privacy, of each device: a phone's usual one
ROUNDS = 5  # of the second run
KEPT = 40  # examples of each phone
TRIED = 30  # digits of each held-out writer that are guessed
PATIENCE_S = 400.0
_SET = (
    "attack.kind=none",
    "attack.devices=0",
    "defence.aggregator=mean",
    "defence.tolerate=0",
    "report.references=false",
    "cohort.deadline_s=240",
    "cohort.patience_s=240",
    f"cohort.at_least={len(PHONES) + len(AGENTS)}",
)
_FIRST = (*_SET, "rounds=1", "privacy.epsilon=1")
_SECOND = (*_SET, f"rounds={ROUNDS}", "privacy.epsilon=7.5")  # together they spend less than a device allows
_ANYTHING = {  # whatever else this machine does
    "battery_percent": 0, "busy_percent": 100, "free_disk_mb": 0, "free_memory_mb": 0, "metered": "no",
    "temperature_c": 110,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of the run."""

    counted: Sequence[tuple[str, ...]]
    """Who was counted in each round."""
    before: Sequence[bool]
    after: Sequence[bool]
    """Of each digit of held-out writers, whether phone-1 reads it right."""
    heads: tuple[int, int]
    """After how many rounds the head was made by which it read them."""
    evaluated: tuple[float | None, float]
    """Shares of all digits of these writers by the coordinator's evaluation: of the heads that the phone had."""
    kept: dict[str, tuple[int, int]]
    """Debits and examples of each phone in the end."""
    reloads: int
    ms: Sequence[float]
    """Of phone-1's first round, one for each example whose features were computed."""
    guess_ms: Sequence[float]


def learned(folder: Path) -> Outcome:
    """Go through the whole story once.

    Raises:
        NotMeasuredError: something did not come about.
    """
    given = default_scenario(_SECOND)
    task = DigitsTask(given.task, given.model)
    tried = Examples.concatenate([data.select(np.arange(TRIED)) for data in task.evaluation().values()])
    with (
        _federation(folder, given) as federation,
        pages(chromium(), folder / "pages.log", PATIENCE_S) as browser,
    ):
        phones = one, two = [PhonePage(browser, name) for name in PHONES]
        for phone in phones:
            phone.join(f"{federation.gateway}/phone/#{federation.invitation('phone')}")
            data = task.local_data(PHONES[phone.name]).select(np.arange(KEPT))
            phone.keep(data.x, data.y)
            progress(f"rounds: {phone.name} keeps {KEPT} examples")
        one.note_progress()
        with _running(federation, _FIRST, folder) as ended:
            ended()
        one.await_rounds(1)
        ms = one.ms_per_example(KEPT)
        before = _guessed(one, tried)
        with _running(federation, _SECOND, folder) as ended:
            two.reload_in_training()
            progress("rounds: phone-2 was reloaded between its debit and its answer")
            two.await_rounds(3)
            two.reload_when("Sending the answer")
            progress("rounds: phone-2 was reloaded while it sent an answer")
            done = ended()
        one.await_rounds(1 + ROUNDS)
        after = _guessed(one, tried)
        rounds = list(done.rounds())
        return Outcome(
            counted=[record.accepted for record in rounds],
            before=before.right(tried.y),
            after=after.right(tried.y),
            heads=(before.round, after.round),
            evaluated=(load_result(done.path).quality.base.accuracy, rounds[-2].accuracy),
            kept={phone.name: phone.kept() for phone in phones},
            reloads=two.reloads,
            ms=ms,
            guess_ms=[*before.ms, *after.ms],
        )


def _guessed(phone: PhonePage, tried: Examples) -> Guesses:
    found = phone.guesses(tried.x)
    right = sum(found.right(tried.y))
    progress(f"rounds: {phone.name} reads {right} of {len(tried.y)} digits by the head after {found.round} rounds")
    return found


@contextmanager
def _federation(folder: Path, given: Scenario) -> Iterator[Federation]:
    """Servers, and agents that are enrolled and run."""
    key = key_file(folder)
    privacy = {"unit": "example", "epsilon": BUDGET, "delta": given.privacy.delta}
    with ExitStack() as stack:
        federation = stack.enter_context(servers(folder))
        for name, holder in AGENTS.items():
            home = folder / name
            enrol(
                federation.invitation("pi"), home, key,
                holder=holder, privacy=privacy, model=given.model, conditions=_ANYTHING,
            )  # fmt: skip
            words = ["device", "run", "--home", home, "--key-file", key, "--quiet"]
            stack.callback(stop, start([*SKERRY, *words], folder / f"{name}.log"))
        yield federation


@contextmanager
def _running(federation: Federation, overrides: Sequence[str], folder: Path) -> Iterator[Callable[[], RunFolder]]:
    """A run under way; what is given waits for its end."""
    log = folder / "run.log"
    words = ["run", "digits", "--engine", "fleet", "--runs-dir", federation.runs, "--json"]
    process = start([*SKERRY, *words, *(word for one in overrides for word in ("--set", one))], log)
    try:
        yield lambda: _ended(process, federation.runs, log)
    finally:
        stop(process)


def _ended(process: Popen, runs: Path, log: Path) -> RunFolder:
    try:
        code = process.wait(PATIENCE_S)
    except TimeoutExpired:
        raise NotMeasuredError("the run did not end") from None
    if code:
        raise NotMeasuredError(f"the run failed: {log.read_text(errors='replace')[-2000:]}")
    return list_runs(runs)[-1]
