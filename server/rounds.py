"""The way of an update, as a list of stages; each is one module and runs once a round, in this order:

1. *open the round* in the population's ledger (``account.py``)
2. *plan*       who is asked (``cohort.py``), with a signed and sealed instruction for each (``plan.py``)
3. *collect*    answers until the deadline (``collect.py``)
4. *open*       verify, unseal, parse (``collect.py``)
5. *validate*   length, layout, finiteness (``judge.py``)
6. *screen*     a verdict for each device, with reasons (``judge.py``)
7. *aggregate*  one robust rule on the n×d matrix of deltas, uniform weights (``strategies``); under device-level
   privacy the noisy mean of clipped deltas instead (``central.py``)
8. *step*       the server optimizer (``strategies.optimizers``)
9. *account*    receipts and the released vector into the ledger (``account.py``)
10. *evaluate*  on held-out devices through the int8 base (``evaluate.py``)
11. *checkpoint* everything of this round on disk (``checkpoint.py``), then in the fleet's registry (``remember.py``)

The disk works while the coordinator does: nothing of a round leaves before its opening, and everything of the round
before it, is on stable storage; nothing is released before the answers it is made of are; and a run is over only when
its last round is.

In a buffered run stages 1 to 4 are those of ``buffered.py``: devices answer in the round in which they were asked or
in a later one, and a round ends when the buffer is full.

A round in which too few updates are left is *skipped*: the vector stays, the spending counts, the record says why.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from skerry.clock import Stopwatch
from skerry.config.scenario import TrainingConfig
from skerry.device.worker import process_worker
from skerry.errors import AggregationError
from skerry.records import Float32Array, Reason, RoundRecord
from skerry.security.privacy.stream import derive_generator
from skerry.server.account import Spending, open_round, release_round
from skerry.server.carried import carried, carry
from skerry.server.central import CentralNoise
from skerry.server.checkpoint import Checkpoint, store_round, vector_digest
from skerry.server.cohort import draw_cohort
from skerry.server.collect import Opened, collect, open_replies, settled
from skerry.server.evaluate import evaluate_held_out
from skerry.server.federation import Federation
from skerry.server.journal import RoundJournal
from skerry.server.judge import Judged, screen, validate
from skerry.server.mailbox import Mailbox
from skerry.server.needed import Needed
from skerry.server.pausing import wait_while_paused
from skerry.server.plan import RoundPlan, make_plan
from skerry.server.progress import Gathered, Progress, Waited
from skerry.server.round_spans import tell_round
from skerry.server.stopping import stop_if_told
from skerry.server.stragglers import Stragglers
from skerry.server.tolerance import rule_for
from skerry.server.variates import ControlVariates
from skerry.strategies.averaging import Averaged
from skerry.strategies.buffered import staleness_weights
from skerry.strategies.fairness import fair_weights
from skerry.strategies.optimizers import ServerOptimizer, named_optimizer
from skerry.syncer import Syncer

__all__ = ["Progress", "aggregate", "gather_round", "run_round", "run_rounds", "server_optimizer"]

_NOISE = "noise"
Gather = Callable[[Federation, Progress, int, Stopwatch], Gathered]


def run_rounds(federation: Federation) -> Progress:
    """All rounds of the scenario that are not finished yet, from the public head to the final vector."""
    past = federation.past
    initial = federation.model.initial()
    with federation.tracing.span("base"):
        base = evaluate_held_out(federation, initial)
    federation.folder.mark("running", stage=f"round {past.rounds}", extra={"base_accuracy": base.accuracy})
    vector, moments = initial, server_optimizer(federation.scenario.training).start(initial.size)
    variates = ControlVariates.start(initial.size) if federation.scenario.training.scaffold else None
    if past.checkpoint is not None:
        vector, moments, variates = past.checkpoint.vector, past.checkpoint.moments, past.checkpoint.variates
    before = dict(process_worker().watch.seconds)
    with Syncer() as syncer:
        central = None
        if federation.plan.unit == "device":
            central = CentralNoise(federation.scenario, federation.plan.noise_multiplier, vector.size)
            if past.rounds < federation.scenario.rounds:
                reached = range(past.rounds, max(0, past.rounds - central.reach), -1)
                central.restore(past.rounds, [carried(federation.folder.path, _NOISE, number) for number in reached])
        journal = RoundJournal(federation.folder.path)
        cohort = federation.scenario.cohort
        needed = Needed(None if federation.simulated else cohort.deadline_least_s, cohort.deadline_s)
        stragglers = Stragglers(federation.clock, cohort.deadline_s)
        spending = Spending(federation)
        progress = Progress(vector, moments, spending, base, syncer, journal, needed, stragglers, central, variates)
        progress.records.extend(past.records)
        progress.receipts |= past.receipts
        gather: Gather = gather_round
        if federation.scenario.cohort.mode == "buffered":
            from skerry.server.buffered import BufferedGathering  # virtual phones, which rounds have none of

            gather = BufferedGathering(federation)
        for number in range(1, past.rounds + 1):
            progress.spending.add(number, past.cohorts[number])
        for number in range(past.rounds + 1, federation.scenario.rounds + 1):
            wait_while_paused(federation.folder)
            stop_if_told()
            federation.roster.renew(federation.ledger, federation.clock())
            with federation.tracing.span("round", {"skerry.round": number}):
                progress.records.append(run_round(federation, progress, number, gather))
    stop_if_told()
    journal.drop()
    after = process_worker().watch.seconds
    progress.device_seconds = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
    return progress


def gather_round(federation: Federation, progress: Progress, number: int, watch: Stopwatch) -> Gathered:
    """Stages 1 to 4: the answers of one round, all to the same vector."""
    with watch.stage("plan"):
        kept = progress.journal.read(number) if number == federation.past.rounds + 1 else None
        cohort = draw_cohort(federation, number, progress.spending)
        debit = progress.central.debit(number) if progress.central is not None else None
        with open_round(federation, number, cohort, progress.syncer, debit):
            before = None if kept is None else settled(federation, number, kept)
            given = (cohort, progress.vector, progress.receipts, before)
            plan = make_plan(federation, number, *given, variates=progress.variates)
        progress.planned(plan, cohort)
    with watch.stage("checkpoint"):
        progress.syncer.settle()  # the round before is on the disk too, or its answers are still needed
        begun = progress.syncer.begin(progress.journal.begin, number, plan.asked)
    began, mailbox = federation.clock(), Mailbox(federation.grid, cleared=begun.wait)
    with watch.stage("collect"):
        classes = {federation.roster.class_of(device) for device in plan.envelopes}
        deadline_s = progress.needed.deadline_s(classes)
        replies = collect(federation, plan, progress.journal, deadline_s=deadline_s, mailbox=mailbox)
        waited = Waited(began, federation.clock(), replies.arrived)
        progress.stragglers.leave(number, plan.asked, mailbox, began)
        late = progress.stragglers.come(federation)
    plan = plan.sent()  # of many devices instructions are as large as the answers that are opened now
    answers_kept = progress.syncer.begin(progress.journal.sync)
    with watch.stage("open"):
        opened = open_replies(federation, plan, replies)
    for late_one in late:
        progress.needed.note(federation.roster.class_of(late_one.device), late_one.seconds)
    _learn(federation, progress.needed, plan, opened, waited)
    told = {"late": {one.device: one.round for one in late}} if late else {}
    return Gathered(opened, plan.bytes_down, replies.bytes_up, answers_kept, told=told, waited=waited)


def _learn(federation: Federation, needed: Needed, plan: RoundPlan, opened: Opened, waited: Waited) -> None:
    """Note how long devices took for their updates, and who was silent to the end; a refusal says nothing of either.

    One that was not waited for needs at least as long as the round lasted.
    """
    for device in sorted(plan.envelopes):
        if device in opened.updates:
            needed.note(federation.roster.class_of(device), (waited.arrived[device] - waited.began) / 1000)
        elif opened.dropped.get(device) is Reason.NO_REPLY:
            needed.note(federation.roster.class_of(device))
        elif opened.dropped.get(device) is Reason.NOT_AWAITED:
            needed.note(federation.roster.class_of(device), (waited.ended - waited.began) / 1000)


def run_round(federation: Federation, progress: Progress, number: int, gather: Gather) -> RoundRecord:
    """One round, stage by stage; ``gather`` is the first of them, up to *open*."""
    watch = Stopwatch(around=federation.tracing.span)
    gathered = gather(federation, progress, number, watch)
    opened = gathered.opened
    progress.receipts |= {device: signed.receipt.digest for device, signed in opened.receipts.items()}
    if federation.auditor is not None:
        federation.auditor.observe(progress.vector, federation.plan_for(number), opened.updates)
    with watch.stage("validate"):
        valid = validate(federation, opened)
    losses = {device: update.loss for device, update in opened.updates.items()}
    opened = replace(opened, updates={})  # they are rows of a matrix now, and of many devices as large as that
    gathered = replace(gathered, opened=opened)
    with watch.stage("screen"):
        judged = screen(federation, number, valid, progress.vector)
    weights = _weights(federation, judged, number, gathered, losses)
    skipped: str | None = None
    told: dict[str, float | None] = {}
    with watch.stage("aggregate"):
        try:
            if progress.central is None:
                step = aggregate(federation, judged, number, weights)
            else:
                noise = federation.stream("central noise", number)
                made = progress.central.release(judged.deltas, noise, weights)
                step, told = made.step, {"clip": made.clip, "unclipped": made.unclipped}
                newest, reach = progress.central.newest(), progress.central.reach
                if newest is not None:
                    progress.syncer.begin(carry, federation.folder.path, _NOISE, number, newest, reach + 1)
            move = server_optimizer(federation.scenario.training)
            before = progress.vector
            progress.vector, progress.moments = move(progress.vector, step, progress.moments)
            if progress.variates is not None:
                given = (step, federation.plan_for(number), len(federation.members))
                progress.variates = progress.variates.after(number, judged.devices, *given)
            if federation.auditor is not None:
                federation.auditor.follow(before, progress.vector, federation.plan_for(number))
        except AggregationError as error:
            skipped = error.what
    with watch.stage("account"):
        gathered.kept.wait()  # what is released has to come out the same again, whatever happens to this machine
        released = vector_digest(progress.vector)
        release = release_round(federation, number, valid, judged, released, progress.syncer, gathered.bases)
        with release as entry, watch.stage("evaluate"):
            quality = evaluate_held_out(federation, progress.released)
    progress.syncer.begin(federation.publish, federation.ledger.checkpoint())
    record = RoundRecord(
        round=number,
        accuracy=quality.accuracy,
        loss=quality.loss,
        epsilon_max=progress.spending.maximum,
        epsilon_median=progress.spending.median,
        accepted=judged.devices,
        flagged=judged.flagged,
        dropped=judged.dropped,
        bytes_down=gathered.bytes_down,
        bytes_up=gathered.bytes_up,
        seconds=watch.seconds,
        vector_digest=released,
        finished_ms=federation.clock(),
        extra={
            "ece": quality.ece,
            "skipped": skipped,
            **told,
            **gathered.told,
            "ledger_leaf": entry.hash,
            "refusals": opened.refusals,
            "quarantined": sorted(federation.screener.quarantined - set(federation.excluded)),
        },
    )
    _keep(federation, progress, record, judged)
    tell_round(federation, record, gathered)
    return record


def _keep(federation: Federation, progress: Progress, record: RoundRecord, judged: Judged) -> None:
    """Begin to write everything of a finished round: into the run's folder, and then into the fleet's registry."""
    checkpoint = Checkpoint(
        record.round,
        progress.vector,
        progress.moments,
        federation.screener.state(),
        record.to_json(),
        [verdict.to_json() for verdict in judged.verdicts],
        progress.variates,
    )
    store = federation.tracing.behind("checkpoint", store_round)
    stored = progress.syncer.begin(store, federation.folder, checkpoint)
    if federation.memory is not None:
        federation.memory.take(stored, record.round, record.finished_ms, judged.verdicts)


def server_optimizer(training: TrainingConfig) -> ServerOptimizer:
    """The optimizer that a scenario names, with an average beside it where one is asked for."""
    named = named_optimizer(
        training.server_optimizer,
        learning_rate=training.server_learning_rate,
        momentum=training.server_momentum,
        decay=training.server_decay,
        adaptivity=training.server_adaptivity,
    )
    return Averaged(named, training.server_average) if training.server_average else named


def aggregate(federation: Federation, judged: Judged, number: int, weights: Float32Array | None = None) -> Float32Array:
    """The robust rule over accepted deltas, scaled by ``weights`` first where they do not count alike.

    ``tolerate`` counts the hostile devices assumed in the whole fleet, with those that are out: see
    :func:`~skerry.server.tolerance.rule_for`.

    Raises:
        AggregationError: fewer rows are left than the rule's assumption needs.
    """
    defence = federation.scenario.defence
    shuffle = int(derive_generator(federation.scenario.seed, "bucketing", number).integers(2**63))
    rule = rule_for(
        defence.aggregator,
        tolerate=defence.tolerate,
        out=len(federation.screener.quarantined.union(judged.flagged)),
        rows=len(judged.deltas),
        seed=shuffle,
    )
    return rule(judged.deltas if weights is None else judged.deltas * weights[:, None])


def _weights(
    federation: Federation, judged: Judged, number: int, gathered: Gathered, losses: Mapping[str, float | None]
) -> Float32Array | None:
    """Of each accepted row, by its age or by its device's loss; None where all count alike."""
    cohort, fairness = federation.scenario.cohort, federation.scenario.training.fairness
    if fairness:
        reported = np.array([losses[device] for device in judged.devices], np.float64)
        rate, tolerate = federation.plan_for(number).learning_rate, federation.scenario.defence.tolerate
        return fair_weights(judged.deltas, reported, q=fairness, learning_rate=rate, tolerate=tolerate)
    if cohort.mode != "buffered":
        return None
    ages = np.array([number - gathered.bases.get(device, number) for device in judged.devices], np.int64)
    return staleness_weights(ages, cohort.staleness)
