"""What a trace says of a finished round and of those who were asked in it: how many, how long, and what came of it."""

from skerry.records import RoundRecord
from skerry.server.federation import Federation
from skerry.server.progress import Gathered

__all__ = ["tell_round"]


def tell_round(federation: Federation, record: RoundRecord, gathered: Gathered) -> None:
    """Counts for the span that is open, the round's; and a span for each exchange.

    Under Poisson sampling neither: see :mod:`skerry.server.tracing`.
    """
    tracing = federation.tracing
    tracing.tell({"skerry.skipped": record.extra["skipped"] is not None})
    if federation.scenario.cohort.sampling == "poisson":
        return
    tracing.tell(
        {
            "skerry.devices.accepted": len(record.accepted),
            "skerry.devices.flagged": len(record.flagged),
            "skerry.devices.dropped": len(record.dropped),
            "skerry.bytes.down": record.bytes_down,
            "skerry.bytes.up": record.bytes_up,
        }
    )
    waited = gathered.waited
    if waited is None:
        return
    outcomes = {**dict.fromkeys(record.accepted, "accepted"), **record.dropped}
    for device, outcome in sorted(outcomes.items()):
        tracing.finished(
            "exchange",
            {"skerry.device": device, "skerry.outcome": outcome},
            began=waited.began,
            ended=waited.arrived.get(device, waited.ended),
        )
