"""A ledger, its policy, and what it spends."""

from skerry.security.privacy import GaussianEvent, Ledger, Policy, calibrate

EXAMPLE = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
EVENT = GaussianEvent(calibrate(8.0, 1e-5, 20))
NOW = 1_763_900_000_000


def new(path, policy=EXAMPLE, **kwargs):
    return Ledger.create(path, **{"scope": "device", "subject": "writer-00", "now": NOW} | kwargs, policy=policy)


def spend(ledger, round_, event=EVENT, run="run-1"):
    return ledger.debit(run, round_, event, nonce=f"{round_:032x}", now=NOW + round_)
