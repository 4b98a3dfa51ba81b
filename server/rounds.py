"""The way of an update, as a list of stages; each is one module and runs once a round, in this order:

1. *plan*       who is asked, with a signed and sealed instruction for each (``plan.py``)
2. *open the round* in the population's ledger, before anything leaves (``account.py``)
3. *collect*    answers until the deadline (``collect.py``)
4. *open*       verify, unseal, parse (``collect.py``)
5. *validate*   length, layout, finiteness (``judge.py``)
6. *screen*     a verdict for each device, with reasons (``judge.py``)
7. *aggregate*  one robust rule on the n×d matrix of deltas, uniform weights (``strategies``)
8. *step*       the server optimizer (``strategies.optimizers``)
9. *account*    receipts and the released vector into the ledger (``account.py``)
10. *evaluate*  on held-out devices through the int8 base (``evaluate.py``)
11. *checkpoint* everything of this round on disk (``checkpoint.py``)

A round in which too few updates are left is *skipped*: the vector stays, the spending counts, the record says why.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from skerry.clock import Stopwatch
from skerry.device.tasks.metrics import Quality
from skerry.device.worker import process_worker
from skerry.errors import AggregationError
from skerry.fsio import append_durably
from skerry.records import Float32Array, RoundRecord
from skerry.server.account import Spending, open_round, release_round
from skerry.server.checkpoint import Checkpoint, save_checkpoint, vector_digest
from skerry.server.collect import collect, open_replies
from skerry.server.evaluate import evaluate_held_out
from skerry.server.federation import Federation
from skerry.server.judge import Judged, screen, validate
from skerry.server.plan import make_plan
from skerry.strategies.optimizers import FedAvg
from skerry.strategies.rule import parse_rule

__all__ = ["Progress", "aggregate", "run_round", "run_rounds"]


@dataclass
class Progress:
    """What changes from round to round."""

    vector: Float32Array
    spending: Spending
    base: Quality
    records: list[RoundRecord] = field(default_factory=list)
    device_seconds: dict[str, float] = field(default_factory=dict)


def run_rounds(federation: Federation) -> Progress:
    """All rounds of the scenario, from the public head to the final vector."""
    vector = federation.model.initial()
    base = evaluate_held_out(federation, vector)
    progress = Progress(vector, Spending(federation), base)
    federation.folder.mark("running", stage="round 0", extra={"base_accuracy": base.accuracy})
    before = dict(process_worker().watch.seconds)
    for number in range(1, federation.scenario.rounds + 1):
        record = run_round(federation, progress, number)
        progress.records.append(record)
        federation.folder.mark("running", stage=f"round {number}")
    after = process_worker().watch.seconds
    progress.device_seconds = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
    return progress


def run_round(federation: Federation, progress: Progress, number: int) -> RoundRecord:
    """One round, stage by stage."""
    watch = Stopwatch()
    with watch.stage("plan"):
        plan = make_plan(federation, number, progress.vector)
        open_round(federation, plan)
        progress.spending.add(plan)
    with watch.stage("collect"):
        replies = collect(federation, plan)
    with watch.stage("open"):
        opened = open_replies(federation, plan, replies)
    with watch.stage("validate"):
        valid = validate(federation, opened)
    with watch.stage("screen"):
        judged = screen(federation, number, valid)
    skipped = None
    with watch.stage("aggregate"):
        try:
            step = aggregate(federation, judged)
            progress.vector = FedAvg(federation.scenario.training.server_learning_rate)(progress.vector, step)
        except AggregationError as error:
            skipped = error.what
    with watch.stage("account"):
        released = vector_digest(progress.vector)
        leaf = release_round(federation, number, valid, judged, released)
    with watch.stage("evaluate"):
        quality = evaluate_held_out(federation, progress.vector)
    record = RoundRecord(
        round=number,
        accuracy=quality.accuracy,
        loss=quality.loss,
        epsilon_max=progress.spending.maximum,
        epsilon_median=progress.spending.median,
        accepted=judged.devices,
        flagged=judged.flagged,
        dropped=judged.dropped,
        bytes_down=plan.bytes_down,
        bytes_up=replies.bytes_up,
        seconds=watch.seconds,
        vector_digest=released,
        finished_ms=federation.clock(),
        extra={
            "ece": quality.ece,
            "skipped": skipped,
            "ledger_leaf": leaf,
            "refusals": opened.refusals,
            "quarantined": sorted(federation.screener.quarantined),
        },
    )
    with watch.stage("checkpoint"):
        save_checkpoint(federation.folder, Checkpoint(number, progress.vector, federation.screener.state()))
        _append(federation, "verdicts.jsonl", [verdict.to_json() for verdict in judged.verdicts])
        _append(federation, "rounds.jsonl", [record.to_json()])
    return record


def aggregate(federation: Federation, judged: Judged) -> Float32Array:
    """The robust rule over accepted deltas.

    ``tolerate`` counts the hostile devices assumed in the whole fleet; each one in quarantine is no longer among
    the rows, so the rule need not tolerate it again.

    Raises:
        AggregationError: fewer rows are left than the rule's assumption needs.
    """
    defence = federation.scenario.defence
    left = max(0, defence.tolerate - len(federation.screener.quarantined))
    return parse_rule(defence.aggregator, tolerate=left)(judged.deltas)


def _append(federation: Federation, name: str, values: Iterable[dict[str, Any]]) -> None:
    lines = b"".join(json.dumps(value, allow_nan=False).encode() + b"\n" for value in values)
    append_durably(federation.folder.path / name, lines)
