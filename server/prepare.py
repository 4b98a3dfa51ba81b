"""What must exist before the first round: the frozen base, the fleet, and the noise that the budget allows."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from skerry.canonical import sha256_hex
from skerry.clock import Clock
from skerry.config import Scenario
from skerry.device.local_model import LocalModel, build_local_model
from skerry.device.protocol import to_bytes
from skerry.device.tasks.task import Task
from skerry.device.tasks.views import Viewed
from skerry.device.training.plan import TrainPlan, private_steps
from skerry.device.worker import Worker
from skerry.errors import ScenarioError, TaskError
from skerry.fsio import require_space, write_json
from skerry.runfolder import RunFolder
from skerry.security.privacy.accounting import calibrate, check_delta
from skerry.server.central import run_event
from skerry.server.fleet_rules import check_for_fleet, check_for_simulation
from skerry.server.provision import join_federation, provision_fleet
from skerry.server.standing import check_budgets
from skerry.strategies.rule import parse_rule

__all__ = ["Prepared", "noise_for", "prepare", "train_plan"]

SPACE_NEEDED = 256 << 20


@dataclass(frozen=True)
class Prepared:
    """The task and model of a run, ready to use in this process."""

    task: Task
    model: LocalModel


def noise_for(scenario: Scenario) -> float:
    """Noise multiplier σ with which all rounds together stay within the device's ε at δ; 0 without privacy.

    Example level, add/remove, Gaussian steps (Poisson-sampled where the rate is below 1), composed by RDP over
    ``participations × epochs × round(1 / rate)`` steps, times the replays of ``free``. A device takes part in every
    round, or in as many as its minimum separation and its number of participations allow; its ledger refuses more.

    Device level: of each round, with cohorts drawn at ``cohort.rate``; of the whole run where noise is correlated.
    """
    if scenario.privacy.unit == "none":
        return 0.0
    privacy = scenario.privacy
    if privacy.unit == "device":
        whole = run_event(scenario, 1.0)
        return calibrate(privacy.epsilon, privacy.delta, whole.steps, whole.sampling_rate)
    rounds = math.ceil(scenario.rounds / privacy.min_separation)
    participations = min(rounds, privacy.max_participations or rounds)
    training = scenario.training
    steps = participations * private_steps(training.epochs, privacy.sampling_rate, training.adversarial)
    return calibrate(privacy.epsilon, privacy.delta, steps, privacy.sampling_rate)


def train_plan(scenario: Scenario) -> TrainPlan:
    """What each device is asked to do in a round, at the learning rate that the schedule starts from."""
    privacy, training = scenario.privacy, scenario.training
    return TrainPlan(
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        batch_size=training.batch_size,
        momentum=training.momentum,
        proximal=training.proximal,
        gradient_clip=training.gradient_clip,
        augment=training.augment,
        adversarial=training.adversarial,
        adversarial_epsilon=training.adversarial_epsilon if training.adversarial != "none" else 0.0,
        adversarial_norm=training.adversarial_norm,
        views=training.views,
        unit=privacy.unit,
        clip=privacy.clip,
        noise_multiplier=noise_for(scenario),
        denominator=privacy.denominator,
        sampling_rate=privacy.sampling_rate,
        rounds=scenario.rounds if privacy.unit == "device" else 1,
        cohort_rate=(scenario.cohort.rate or 1.0) if privacy.unit == "device" else 1.0,
        separation=privacy.min_separation if privacy.mechanism == "matrix_factorization" else 0,
        engine=privacy.engine,
    )


def _at_once(work: Callable[[], None]) -> None:
    work()


def prepare(
    folder: RunFolder, clock: Clock, worker: Worker, *, making: Callable[[Callable[[], None]], None] = _at_once
) -> Prepared:
    """Build or find the base model and make the fleet, unless an earlier call for this folder did.

    Of the devices of a federation nothing is made or read here: the task gives public and held-out data.

    Args:
        folder: the run.
        clock: milliseconds since the epoch.
        worker: keeps task and model.
        making: is given the work of making a simulated fleet, as the last thing; it may leave it to a process beside
            this one, and whoever gave it then waits until the fleet is whole.

    Raises:
        ScenarioError: the task has fewer devices than the scenario needs, or no views where it asks for some.
        TaskError: the task's data cannot be used.
        MissingDependencyError: a package that this scenario needs is absent.
        RefusedError: δ is too large for a device's data (``delta_too_large``), or a ledger that goes on from other runs
            cannot be used for this one (see :func:`~skerry.server.provision.provision_fleet`).
    """
    scenario = folder.scenario
    require_space(folder.path, SPACE_NEEDED)
    folder.mark("preparing", stage="reading the data")
    task = worker.task(scenario.task, scenario.model)
    _check_views(scenario, task)
    _check_held_out(scenario)
    if not folder.simulated:
        check_for_fleet(scenario)
        join_federation(folder)
        return Prepared(task, _model(folder, scenario, task, worker))
    check_for_simulation(scenario)
    _check_counts(scenario, task)
    new = not (folder.path / "fleet" / "coordinator.json").exists()
    if new:
        _check_delta(scenario, _read_all(task), len(task.devices()))
    model = _model(folder, scenario, task, worker)
    if new:
        folder.mark("preparing", stage="enrolling the simulated fleet")
        contents = {device: worker.identity_of(device, task) for device in task.devices()}
        now = clock()

        def check() -> None:
            check_budgets(folder, scenario, noise_for(scenario))

        def make() -> None:
            provision_fleet(folder, scenario, task, contents, now=now, ready=check)

        making(make)
    return Prepared(task, model)


def _check_held_out(scenario: Scenario) -> None:
    """A run is judged on somebody's data; nobody's are enough on a device only."""
    if scenario.task.holdout == ():
        raise TaskError("no device is held out", where="task.holdout", mend="name at least one in task.holdout")


def _read_all(task: Task) -> int:
    """In a simulation every device's data are here: what cannot be read is said before anything runs.

    Returns:
        The number of examples on the device that has most.
    """
    most = max((len(task.local_data(device).y) for device in task.devices()), default=0)
    task.evaluation()
    return most


def _check_delta(scenario: Scenario, examples: int, devices: int) -> None:
    privacy = scenario.privacy
    units = {"example": examples, "device": devices, "none": 0}[privacy.unit]
    if units:
        check_delta(privacy.delta, units, force=privacy.allow_large_delta)


def _check_denominator(scenario: Scenario, expected: float) -> None:
    """A mean over devices that is far from one says so before anything runs."""
    denominator = scenario.privacy.denominator
    if scenario.privacy.unit == "device" and not expected / 2 <= denominator <= 2 * expected:
        raise ScenarioError(
            f"privacy.denominator is {denominator}, but {expected:g} devices are expected in a round",
            where="privacy.denominator",
            mend=f"set it to about {max(1, round(expected))}, the public number of devices expected in a round",
        )


def _model(folder: RunFolder, scenario: Scenario, task: Task, worker: Worker) -> LocalModel:
    path = folder.path / "model" / "base.json"
    if path.exists():
        return worker.model(scenario.model, json.loads(path.read_text(encoding="utf-8"))["digest"], task)
    base_digest = build_local_model(
        scenario.model, task, progress=lambda stage: folder.mark("preparing", stage=f"base model: {stage}")
    )
    model = worker.model(scenario.model, base_digest, task)
    write_json(
        path,
        {
            "schema": 1,
            "digest": model.digest,
            "layout": [[name, list(shape)] for name, shape in model.layout.tensors],
            "layout_digest": model.layout.digest,
            "initial_digest": sha256_hex(to_bytes(model.initial())),
        },
        durable=False,
    )
    return model


def _check_views(scenario: Scenario, task: Task) -> None:
    if scenario.training.views > 1 and not isinstance(task, Viewed):
        raise ScenarioError(
            f"the examples of task {task.name} have no views but themselves",
            where="training.views",
            mend="set training.views = 1, or give the task a method view(x, number)",
        )


def _check_counts(scenario: Scenario, task: Task) -> None:
    devices = len(task.devices())
    able = devices // scenario.privacy.min_separation
    asked = scenario.cohort.size or scenario.cohort.buffer or able
    _check_denominator(scenario, asked * (scenario.cohort.rate or 1.0))
    if asked > able:
        apart = f", of which {able} may be asked in a round" if able < devices else ""
        key = "cohort.buffer" if scenario.cohort.mode == "buffered" else "cohort.size"
        raise ScenarioError(f"{key} is {asked}, but the task has {devices} devices{apart}", where=key)
    if scenario.attack.kind != "none" and scenario.attack.devices > devices:
        raise ScenarioError(
            f"attack.devices is {scenario.attack.devices}, but the task has {devices} devices", where="attack.devices"
        )
    rule = parse_rule(scenario.defence.aggregator, tolerate=scenario.defence.tolerate)
    if asked < rule.minimum():
        raise ScenarioError(
            f"{scenario.defence.aggregator} needs at least {rule.minimum()} updates to tolerate "
            f"{scenario.defence.tolerate} hostile devices; a round has {asked}",
            where="defence.tolerate",
            mend="lower defence.tolerate or ask more devices",
        )
