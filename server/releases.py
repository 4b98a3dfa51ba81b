"""What a release is made of: updates with a receipt, none of them twice, and no device's too near to its last."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Releases"]


@dataclass
class Releases:
    """Looks at one release of a population's ledger after another.

    In a buffered run an update may be of an earlier round: the release then says of which (``asked``).

    Attributes:
        separation: rounds from one release with an update of a device to its next, at least: the noise counts on it.
    """

    separation: int = 1
    _last: dict[int, int] = field(default_factory=dict)
    _used: set[tuple[int, str]] = field(default_factory=set)

    def fault(self, body: Mapping[str, Any], given: Container[tuple[int, str]]) -> str | None:
        """What is wrong with a release; None when nothing is.

        Args:
            body: of its entry.
            given: round and member of every receipt before it.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not one that this program writes.
        """
        number, asked = body["round"], body.get("asked", {})
        made_of = {member: (int(asked.get(str(member), number)), str(member)) for member in body["accepted"]}
        early = [member for member, (base, _) in made_of.items() if base > number]
        lacking = [member for member, update in made_of.items() if update not in given]
        twice = [member for member, update in made_of.items() if update in self._used]
        near = [member for member in made_of if number - self._last.get(member, -self.separation) < self.separation]
        self._used |= set(made_of.values())
        self._last |= dict.fromkeys(made_of, number)
        if lacking or early:
            return f"the average of round {number} holds updates without a receipt (members {lacking or early})"
        if twice:
            return f"the average of round {number} holds updates that an earlier one holds (members {twice})"
        if near:
            apart = f"fewer than {self.separation} rounds after earlier ones"
            return f"the average of round {number} holds updates {apart} (members {near})"
        return None
