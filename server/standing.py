"""Ledgers that go on from run to run: one for each device of a data set, in a folder of their own.

ε is spent by data. What is the same data is told in two ways, so that neither a change of the task nor a change of the
name starts a budget anew:

* by *name*: the data set's (``privacy.data``, else the task's name and folder) and the device's. Other windows, other
  labels, more examples: the same ledger goes on;
* by *content*: a digest of the examples, noted in the ledger when they are first used. The same examples under another
  name are refused.
"""

from pathlib import Path

from skerry.canonical import digest
from skerry.config import Scenario
from skerry.device.training.plan import private_steps
from skerry.errors import BudgetExceededError, RefusedError
from skerry.fsio import disk_errors
from skerry.runfolder import RunFolder
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.security.privacy.verification import read_entries, read_ledger

__all__ = ["StandingLedgers", "check_budgets", "data_name"]


def data_name(scenario: Scenario) -> str:
    """The name of a scenario's data set."""
    if scenario.privacy.data is not None:
        return scenario.privacy.data
    root = scenario.task.root
    return scenario.task.name if root is None else f"{scenario.task.name}:{Path(root).expanduser().resolve()}"


class StandingLedgers:
    """The folder; what lies in it is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}  # of the data, by the digest of their content
        for path in sorted(folder.glob("*.jsonl")):
            entries, _ = read_entries(path)
            for entry in entries:
                if entry.kind == "data":
                    self._names[entry.body["content"]] = entries[0].body["data"]

    def join(self, policy: Policy, device: str, content: str, *, link: Path, now: int) -> tuple[Path, Policy]:
        """The ledger of these data, new or as other runs left it, and the policy in force: the one it began with.

        Args:
            policy: what the scenario asks for, ``data`` being the name of the data.
            device: who holds them.
            content: digest of the examples.
            link: where the run's folder is to show the ledger.
            now: milliseconds since the epoch.

        Raises:
            RefusedError: the same examples have a ledger under another name (``other_name``); the ledger is in use
                (``ledger_in_use``), or promises something else than the scenario (``other_promise``).
            LedgerCorruptError: its chain does not hold.
        """
        path = self._folder / f"{digest([policy.data])}.jsonl"
        named = self._names.setdefault(content, policy.data)
        if named != policy.data:
            raise RefusedError(
                "other_name",
                f"the examples of {device} have a ledger already, under the name {named!r}",
                where=str(self._folder),
                mend="set privacy.data, and name the device, as they were then: what was spent of them counts",
            )
        if path.exists():
            ledger = Ledger.open(path)
        else:
            ledger = Ledger.create(path, scope="device", subject=device, policy=policy, now=now)
        with ledger:
            found = ledger.policy
            if (found.unit, found.delta, found.data) != (policy.unit, policy.delta, policy.data):
                raise RefusedError(
                    "other_promise",
                    f"the ledger of these data promises {found.unit} level at δ = {found.delta:g}; the scenario asks"
                    f" for {policy.unit} at δ = {policy.delta:g}",
                    where=str(path),
                    mend="use the same privacy.unit and privacy.delta; a promise once made is kept",
                )
            if not any(entry.kind == "data" and entry.body["content"] == content for entry in ledger.entries()):
                ledger.record("data", {"content": content}, now)
        with disk_errors(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        return path, found


def check_budgets(folder: RunFolder, scenario: Scenario, noise_multiplier: float) -> None:
    """Say before anything runs that nobody can take part: ledgers that go on from other runs may be used up.

    Raises:
        BudgetExceededError: no device has budget for a single round (``budget_exceeded``).
    """
    privacy = scenario.privacy
    if privacy.ledgers is None or privacy.unit != "example":
        return
    training = scenario.training
    steps = private_steps(training.epochs, privacy.sampling_rate, training.adversarial)
    event = GaussianEvent(noise_multiplier, privacy.sampling_rate, steps)
    accounts = [read_ledger(path) for path in sorted((folder.path / "ledger" / "devices").glob("*.jsonl"))]
    after = [account.spending.epsilon(account.policy.delta, event) / account.policy.epsilon for account in accounts]
    if after and min(after) > 1:
        raise BudgetExceededError(
            "budget_exceeded",
            "no device has budget left for a round: earlier runs over the same data have spent it",
            where=privacy.ledgers,
            mend="use other data, or more noise (a smaller privacy.epsilon): what is spent does not come back",
        )
