"""What devices were asked to spend in a run, as the population's ledger tells it: all that is known of a fleet's.

Each device's own ledger lies on the device. A device that was asked counts as having spent what was asked, answer or
not; of its other runs, and of what its owner allows, nothing is known here. What is known besides are its receipts: the
head of its ledger after each debit, signed by it.

Under unit ``device`` a run costs every device that it names, drawn or not: the price of drawing at random is right only
where every round counts for all who might have been drawn. Its own ledger cannot know of a run that never asked it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from skerry.security.privacy.accounting import GaussianEvent, compose, epsilon_from_rdp
from skerry.security.privacy.chain import Entry

__all__ = ["Asked", "asked_of"]


@dataclass
class Asked:
    """One device.

    Attributes:
        rounds: in how many rounds it was asked.
        prices: what the run cost it; at device level the first round since it was named pays for the whole run, whether
            it was drawn in it or not. Empty without privacy.
        receipts: for how many rounds it has given a receipt.
        head: of its ledger, as its newest receipt says; None before the first.
    """

    rounds: int = 0
    prices: list[GaussianEvent] = field(default_factory=list)
    receipts: int = 0
    head: str | None = None

    def epsilon(self, delta: float) -> float:
        """ε(δ) of all prices, by RDP: the most that following this run has cost the device."""
        return float(epsilon_from_rdp(compose(self.prices), delta)[0]) if self.prices else 0.0


def asked_of(population: Iterable[Entry]) -> dict[str, Asked]:
    """Each device that the ledger names, whether it was ever asked or not; erased names are left out."""
    names: dict[int, str] = {}
    found: dict[str, Asked] = {}
    for entry in population:
        if entry.erased:
            continue
        if entry.kind == "member":
            names[entry.seq] = entry.body["device"]
            found.setdefault(entry.body["device"], Asked())
        elif entry.kind == "round_open":
            cohort = [found[names[member]] for member in entry.body["cohort"] if member in names]
            for device in cohort:
                device.rounds += 1
            _charge(entry, cohort, found.values())
        elif entry.kind == "receipts":
            for member, receipt in entry.body["receipts"].items():
                if int(member) in names:
                    one = found[names[int(member)]]
                    one.receipts, one.head = one.receipts + 1, receipt["leaf"]
    return found


def _charge(opened: Entry, cohort: Iterable[Asked], everybody: Iterable[Asked]) -> None:
    """Add what a round costs to those whom it costs something."""
    if opened.body["price"] is None:
        return
    price = GaussianEvent(**opened.body["price"])
    if opened.body["unit"] == "device":
        cohort = [device for device in everybody if not device.prices]
    for device in cohort:
        device.prices.append(price)
