"""Devices' ledgers for tests: made, debited, and cut short."""

from pathlib import Path

from skerry.device.ledgers import Ledgers
from skerry.security.privacy import GaussianEvent, Ledger, Policy

POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


def make(path: Path) -> Path:
    Ledger.create(path, scope="device", subject="writer-00", policy=POLICY, now=0).close()
    return path


def spend(ledgers: Ledgers, path: Path, number: int) -> None:
    with ledgers.at(path) as ledger:
        ledger.debit("run", number, GaussianEvent(1000.0), nonce="00", now=number)


def cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
