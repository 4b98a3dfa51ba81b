"""What a release is made of: updates with a receipt, none of them twice, and no device's too near to its last."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.device.training.plan import device_promise
from skerry.security.strict import check_integer

__all__ = ["Releases", "Schema", "schema_of"]


@dataclass(frozen=True)
class Schema:
    """What a round's noise is for.

    Attributes:
        rounds: of the run.
        separation: rounds from one release with an update of a device to its next, at least.
        correlated: whether the noise counts on that, and not only the number of participations.
    """

    rounds: int
    separation: int
    correlated: bool

    @property
    def promise(self) -> str:
        """The same, as a device's debit says it under unit ``device``."""
        return device_promise(self.rounds, self.separation if self.correlated else 0)


def schema_of(opened: Mapping[str, Any]) -> Schema | None:
    """What a round was opened for, by its ``round_open``.

    None where it does not say: older versions said nothing. Under unit ``device`` that is not accepted.

    Raises:
        KeyError, TypeError, AttributeError, InputError: it is not one that this program writes.
    """
    mechanism = opened["mechanism"]
    if "separation" not in mechanism and opened["unit"] != "device":
        return None
    rounds, separation = mechanism["rounds"], mechanism["separation"]
    check_integer(rounds, "a run's rounds", low=1)
    check_integer(separation, "a separation", low=1)
    return Schema(rounds, separation, correlated=mechanism["name"] == "matrix_factorization")


@dataclass
class Releases:
    """Looks at the rounds and releases of a population's ledger, one after another.

    In a buffered run an update may be of an earlier round: the release then says of which (``asked``).

    How far apart a device's updates must be is what the first round was opened with: the noise counts on it, and a file
    that anybody can edit would take it away without a trace.

    Attributes:
        schema: of the rounds so far; None while nobody said.
    """

    schema: Schema | None = None
    _last: dict[str, int] = field(default_factory=dict)
    _used: set[tuple[int, str]] = field(default_factory=set)

    @property
    def separation(self) -> int:
        """Rounds from one release with an update of a device to its next, at least."""
        return 1 if self.schema is None else self.schema.separation

    def opening_fault(self, body: Mapping[str, Any]) -> str | None:
        """What is wrong with a ``round_open``; None when nothing is.

        Raises:
            KeyError, TypeError, AttributeError, InputError: it is not one that this program writes.
        """
        schema = schema_of(body)
        self.schema = self.schema or schema
        if schema != self.schema:
            return f"round {body['round']} was opened for other rounds or another separation than the first one"
        return None

    def fault(self, body: Mapping[str, Any], given: Container[tuple[int, str]]) -> str | None:
        """What is wrong with a release; None when nothing is.

        Args:
            body: of its entry.
            given: round and member of every receipt before it.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not one that this program writes.
        """
        number, asked = body["round"], body.get("asked", {})
        members = [str(member) for member in body["accepted"]]
        made_of = {member: (int(asked.get(member, number)), member) for member in members}
        early = [member for member, (base, _) in made_of.items() if base > number]
        lacking = [member for member, update in made_of.items() if update not in given]
        twice = [member for member, update in made_of.items() if update in self._used]
        near = [member for member in made_of if number - self._last.get(member, -self.separation) < self.separation]
        self._used |= set(made_of.values())
        self._last |= dict.fromkeys(made_of, number)
        wrong = f"the average of round {number} holds updates"
        if len(members) != len(made_of):
            return f"{wrong} more than once {_named(m for m, count in Counter(members).items() if count > 1)}"
        if lacking or early:
            return f"{wrong} without a receipt {_named(lacking or early)}"
        if twice:
            return f"{wrong} that an earlier one holds {_named(twice)}"
        if near:
            return f"{wrong} fewer than {self.separation} rounds after earlier ones {_named(near)}"
        return None


def _named(members: Iterable[str]) -> str:
    return f"(members [{', '.join(members)}])"
