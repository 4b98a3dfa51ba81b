"""What a device does with an instruction, in the only order in which it may be done.

1. *Open*: the envelope must be signed by the coordinator this device trusts, sealed to this device, fresh, and not
   seen before.
2. *Agree*: the model must be one that this device has, say it is of the kind agreed to, with no layer but arithmetic;
   the layout must be the model's and every weight finite; the plan must ask for the device's own privacy unit; a seed
   is accepted in simulation only. Weights that are finite are not judged: no rule tells a trap from an honest vector,
   and under unit ``example`` clip and noise are the same for both.
3. *Debit*: the ledger must hold the debit whose receipt the coordinator sends back (else it is an older copy); it
   writes down the privacy this round will spend, or refuses. From here on a crash may count as spent. Under unit
   ``device`` it is the coordinator that adds the noise: the debit believes its signed promise.
4. *Train*, while the disk takes the debit: under unit ``example`` clipping and integer noise happen here, and the exact
   gradient exists nowhere else.
5. *Settle*: wait until the debit is on stable storage. Should it fail, there is no answer. A process with many
   simulated devices waits once for those that it answers for at once, and lets go of their answers then (ADR 82).
   Asked for the same again, by the same nonce and words, it debits nothing and says the same (``answers.py``).
   Training that yields, because the device may not work now (``care.py``), goes on in the same way: the debit is
   settled, ledger and locks are let go, and once the device may work again it is found and trained under.
6. *Answer*: the delta goes back sealed to the coordinator and signed, bound to the instruction it answers, with a
   receipt of the debit that the coordinator can show to others.

So no byte leaves, not even a refusal of what went wrong in training, before the debit is on stable storage. A refusal
is answered too, signed and sealed, with its reason code; a message that is not authentic gets no answer
that tells anything.
"""

import functools
import hashlib
import secrets
from dataclasses import dataclass, replace

from skerry.clock import Clock
from skerry.device.answers import KeptAnswer, keep_answer, kept_answer
from skerry.device.care import Undertaking
from skerry.device.local_model import LocalModel, has_views, withstands
from skerry.device.personal import PersonalModel
from skerry.device.protocol import (
    CHALLENGE_DOMAIN,
    CONDITIONS_LAPSED,
    Challenge,
    Instruction,
    Update,
    from_bytes,
    to_bytes,
)
from skerry.device.replying import REPLY_LIFETIME_MS, sealed_reply
from skerry.device.round_training import Trained, train_round
from skerry.device.state import DeviceHome
from skerry.device.tasks.task import Task
from skerry.device.training.plan import TrainPlan
from skerry.device.variates import move_variate, own_variate
from skerry.device.worker import Outcome, Resident, Worker
from skerry.device.yielding import NotYetError, YieldedError, yield_if_asked
from skerry.errors import DiskFullError, EnvelopeRefusedError, InputError, RefusedError, SkerryError
from skerry.records import Float32Array
from skerry.security.attacks import attack_for
from skerry.security.envelope import Expected, Header, Kind, Opened, open_envelope, seal
from skerry.security.identity import verify_signature
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.ledger import Ledger
from skerry.security.privacy.receipt import remembers
from skerry.security.privacy.stream import seeded_stream

__all__ = ["answer_challenge", "participate"]


@dataclass(frozen=True)
class _Work:
    opened: Opened
    instruction: Instruction
    words: bytes  # digest of the bytes that the instruction was read from

    @functools.cached_property
    def undertaking(self) -> Undertaking:
        """What the device would be busy with."""
        header, plan = self.opened.header, self.instruction.plan
        plain = plan.adversarial == "none" and plan.augment == "none"  # attacks and changes have a state of their own
        return Undertaking(_name(header, self.words), header.model, header.expires, resumable=plain)


def answer_challenge(challenge: bytes, signature: bytes, resident: Resident, *, now: int) -> bytes:
    """Tell the trusted coordinator which device answers at this node.

    Returns:
        An envelope of kind IDENTITY, sealed to the coordinator and bound to its challenge.

    Raises:
        EnvelopeRefusedError: the challenge is not the trusted coordinator's, or is out of date.
    """
    verify_signature(resident.coordinator, CHALLENGE_DOMAIN, challenge, signature)
    asked = Challenge.from_bytes(challenge)
    if now > asked.expires:
        raise EnvelopeRefusedError("expired", "the challenge is out of date", where=asked.run)
    header = Header(
        suite=resident.coordinator.suite,
        kind=Kind.IDENTITY,
        run=asked.run,
        round=0,
        sender=resident.home.device,
        receiver=resident.coordinator.name,
        model="",
        nonce=secrets.token_bytes(16),
        in_reply_to=hashlib.sha256(challenge).digest(),
        issued=now,
        expires=now + REPLY_LIFETIME_MS,
    )
    return seal(header, b"", sender=resident.identity, receiver=resident.coordinator)


def participate(envelope: bytes, resident: Resident, worker: Worker, clock: Clock) -> bytes:
    """Follow one instruction, or refuse it with a reason.

    Args:
        envelope: the instruction as it came from the network.
        resident: the device concerned.
        worker: this process's caches.
        clock: milliseconds since the epoch.

    Returns:
        A sealed and signed envelope of kind UPDATE or REFUSAL.

    Raises:
        EnvelopeRefusedError: the message is not an authentic instruction for this device; nothing was done.
        YieldedError: the process was asked to end, or what it needs cannot be had now (:class:`NotYetError`); given the
            envelope again, it goes on.
    """
    with worker.watch.stage("open"):
        opened = open_envelope(
            envelope,
            me=resident.identity,
            directory=resident.directory,
            expected=Expected(kind=frozenset({Kind.INSTRUCTION}), receiver=resident.home.device),
            now=clock(),
            replay=None,  # the ledger is the replay guard that survives a crash: a round is debited once
        )
    try:
        update = _attended(_Work(opened, *worker.instruction(opened.payload)), resident, worker, clock)
    except RefusedError as refusal:
        return _refuse(refusal.reason, refusal, opened, resident, worker, clock())
    except InputError as error:
        return _refuse("malformed", error, opened, resident, worker, clock())
    with worker.watch.stage("answer"):
        header = opened.header
        worker.told(Outcome(header.run, header.round))
        receipt = update.receipt(header.run, header.round, resident.home.device)
        return sealed_reply(Kind.UPDATE, update.to_bytes(), opened, resident, now=clock(), receipt=receipt.digest)


def _attended(work: _Work, resident: Resident, worker: Worker, clock: Clock) -> Update:
    """Follow it while the device may work, and go on when it may again.

    Nothing of it is kept once it is answered. That it may not work now is no answer: asked again, it goes on.
    """
    while True:
        try:
            worker.care.admit(work.undertaking)
            update = _follow(work, resident, worker, clock)
        except NotYetError:
            raise  # who gave the instruction gives it again
        except DiskFullError as error:
            if resident.home.simulated:  # its disk is the run's, which ends
                raise
            raise NotYetError(str(error)) from error
        except YieldedError:
            try:
                yield_if_asked()  # the process is to end: what is kept is for the next one
            except YieldedError:
                if not worker.care.last_call:  # else it is refused above, if the device still may not
                    raise
        except Exception as error:
            if isinstance(error, RefusedError) and error.reason == CONDITIONS_LAPSED:
                worker.care.expire()
            else:  # whatever it was, it ends here
                worker.care.finished()
            raise
        else:
            worker.care.finished()
            return update


def _follow(work: _Work, resident: Resident, worker: Worker, clock: Clock) -> Update:
    home, header, instruction = resident.home, work.opened.header, work.instruction
    _agree(resident, instruction)
    task = worker.task(home.task, home.model)
    model = _model(worker, home, header.model, task)
    _fits(instruction, model, task)
    own = own_variate(home.path, header.run, model.digest, instruction)
    with worker.watch.stage("debit"), worker.ledgers.at(home.ledger) as ledger:
        if ledger.policy.data != home.policy.data:
            raise RefusedError("wrong_ledger", "this ledger speaks of other data", where=str(home.ledger))
        if header.receipt and not remembers(ledger, header.run, home.device, header.receipt):
            raise RefusedError("rolled_back", "this ledger lacks a debit that it gave a receipt of", where=home.device)
        asked = work.undertaking.asked
        entry = _debited(ledger, header, asked)
        kept = kept_answer(home.ledger, asked) if entry is not None else None
        if kept is None:
            if entry is None:
                # What is kept here of a round waits for its own debit, and so does what comes out otherwise again.
                alone = instruction.seed is None or own is not None or isinstance(model, PersonalModel)
                group = None if alone else worker.ledgers.group
                debit = ledger.debiting(
                    header.run,
                    header.round,
                    _price(ledger, header, instruction.plan),
                    nonce=asked,
                    now=clock(),
                    promise=instruction.plan.promise,
                    syncer=group or worker.syncer,
                )
                with debit as entry:
                    trained = _train(work, resident, worker, task, model, own)
            else:
                ledger.sync()  # who wrote the debit may have been killed before the disk had it
                trained = _train(work, resident, worker, task, model, own)
            state = ledger.coming_checkpoint(entry.seq + 1)
            head = trained.head
            sent = _misbehave(resident, trained.delta, header.round, instruction.seed)
            update = Update(sent, model.layout.digest, entry.hash, state.size, state.root.hex(), trained.loss)
            if instruction.seed is None or isinstance(model, PersonalModel):  # computed again it would be another one
                keep_answer(home.ledger, asked, KeptAnswer(update.to_bytes(), to_bytes(head)))
        else:
            update, head = Update.from_bytes(kept.payload), from_bytes(kept.head)
        if isinstance(model, PersonalModel):  # used again, it is spent too: not before the debit is settled
            model.keep_head(home.path, head, instruction.plan)
        if own is not None:
            move_variate(home.path, header, instruction, own, update.delta)
    return update


def _model(worker: Worker, home: DeviceHome, digest: str, task: Task) -> LocalModel:
    """The model that the instruction names, if this device has it and agreed to one of the kind it says it is of."""
    try:
        model = worker.model(home.model, digest, task)
    except InputError as error:
        raise RefusedError("unknown_model", f"this device cannot use that model: {error.what}", where=digest) from error
    if model.digest != digest:
        raise RefusedError("wrong_model", "this device has another model", where=digest)
    return model


def _fits(instruction: Instruction, model: LocalModel, task: Task) -> None:
    """Refuse what this model cannot be trained with, before anything is debited."""
    vector, plan = instruction.vector, instruction.plan
    if model.layout.digest != instruction.layout or vector.shape != (model.layout.size,):
        raise RefusedError("wrong_layout", "the vector does not have this model's layout", where=model.digest)
    if not instruction.finite:
        raise RefusedError("not_finite", "nothing can be learned from weights that are not finite", where=model.digest)
    if plan.views > 1 and not has_views(model, task):
        raise RefusedError("views_refused", "this device's examples have one view each", where=task.name)
    if plan.adversarial != "none" and not withstands(model):
        raise RefusedError(
            "attacks_refused", "this device's model has no gradients down to its input here", where=model.digest
        )


def _name(header: Header, words: bytes) -> str:
    """What names an instruction in its debit: nonce, model and the digest of its words.

    So one price cannot pay for another plan.
    """
    parts = hashlib.sha256(header.nonce).digest(), hashlib.sha256(header.model.encode()).digest(), words
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _debited(ledger: Ledger, header: Header, asked: str) -> Entry | None:
    """The debit of this very instruction, if it was the last one to be followed and is asked for again.

    Another instruction for the same round is a replay, which the ledger refuses. So is one that others followed, in
    whatever run: its answer may have been sent, and is kept no more. One that was held back until a later round of its
    run was debited is refused too: nobody waits for its answer, and it would cost privacy for nothing.
    """
    if not ledger.has(header.run, header.round):
        newest = next(ledger.debited(header.run), None)
        if newest is not None and header.round < newest.round:
            raise RefusedError("out_of_order", f"round {newest.round} of this run was debited before", where=header.run)
        return None
    entry = ledger.last_debit()
    named = (header.run, header.round, asked)
    same = entry is not None and (entry.body["run"], entry.body["round"], entry.body["nonce"]) == named
    return entry if same else None


def _train(
    work: _Work, resident: Resident, worker: Worker, task: Task, model: LocalModel, own: Float32Array | None
) -> Trained:
    with worker.care.training(work.undertaking) as key:
        given = (work.instruction, work.opened.header.round, resident.home, worker, task, model)
        return train_round(*given, own, key)


def _price(ledger: Ledger, header: Header, plan: TrainPlan) -> GaussianEvent | None:
    """What this participation spends: under unit ``device`` the first one in a run pays for the whole run.

    A later one of the same run pays nothing if that was paid for the same promise, and again if the plan has another.
    """
    event = plan.event
    if plan.unit != "device" or event is None:
        return event
    if header.round > plan.rounds:
        raise RefusedError("beyond_plan", f"the run was to have {plan.rounds} rounds", where=header.run)
    if plan.separation > ledger.policy.min_separation:
        apart = ledger.policy.min_separation
        raise RefusedError(
            "separation_refused",
            f"noise that counts on rounds {plan.separation} apart, from a device that keeps them {apart} apart",
            where=header.run,
        )
    bought = ((debit.event, debit.promise) for debit in ledger.debited(header.run))
    return replace(event, steps=0) if (event, plan.promise) in bought else event


def _agree(resident: Resident, instruction: Instruction) -> None:
    home, plan = resident.home, instruction.plan
    if instruction.seed is not None and not home.simulated:
        raise RefusedError("seed_refused", "a real device draws its own noise and follows no seed", where=home.device)
    if home.policy.unit not in {"none", plan.unit}:
        raise RefusedError(
            "unit_refused", f"this device trains only with {home.policy.unit}-level privacy", where=home.device
        )


def _misbehave(resident: Resident, delta: Float32Array, number: int, seed: int | None) -> Float32Array:
    """A simulated compromised device replaces its honest update; a real device has no such setting."""
    hostile = resident.home.hostile
    if hostile is None or not resident.home.simulated:
        return delta
    attack = attack_for(hostile)
    if attack is None:
        return delta
    who = "all" if attack.shared else resident.home.device
    return attack(delta, seeded_stream(seed or 0, "attack", who, number))


def _refuse(reason: str, error: SkerryError, opened: Opened, resident: Resident, worker: Worker, now: int) -> bytes:
    """The reason travels, the words stay."""
    worker.told(Outcome(opened.header.run, opened.header.round, reason, str(error)))
    return sealed_reply(Kind.REFUSAL, reason.encode(), opened, resident, now=now)
