"""What a report says of who took part."""

from typing import Any

from skerry.participation import participation, participation_words
from skerry.server.report.facts import Facts
from skerry.wording import percent

__all__ = ["participation_context"]

_SHOWN = 60


def participation_context(facts: Facts) -> dict[str, Any]:
    """Values for the page: a sentence, and a row for each device, the rarest first; of a run that is not over, of the
    devices that its finished rounds name.
    """
    given = facts.result.participation if facts.result is not None else None
    found = given or participation(facts.rounds, ())
    rows = [
        (name, percent(one.share), str(one.counted), str(one.asked), str(one.late), one.why or "")
        for name, one in sorted(found.devices.items(), key=lambda item: (item[1].share, item[0]))
    ]
    return {
        "participation_sentence": participation_words(found),
        "participation_rows": rows[:_SHOWN],
        "participation_left_out": max(0, len(rows) - _SHOWN),
    }
