"""One finding of ``skerry doctor``."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "State"]

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """One finding. ``missing`` keeps skerry from working here; ``warning`` is worth knowing."""

    name: str
    state: State
    found: str
    mend: str | None = None
