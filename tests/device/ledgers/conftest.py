"""A ledger of a device, and a record of every whole verification."""

from pathlib import Path

import pytest

from skerry.security.privacy import Ledger

from ._ledgers import make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger that nothing was debited from yet."""
    return make(tmp_path / "ledger.jsonl")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every whole verification from now on, by path."""
    found: list[Path] = []
    real = Ledger.open

    def counted(path: Path, *, expected_head: str | None = None) -> Ledger:
        found.append(path)
        return real(path, expected_head=expected_head)

    monkeypatch.setattr(Ledger, "open", counted)
    return found
