"""What stays the same for a whole run: scenario, model, keys, the node of each device, the rule and the ledger."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from flwr.serverapp import Grid

from skerry.clock import Clock
from skerry.config import Scenario
from skerry.device.local_model import LocalModel
from skerry.device.tasks.task import Task
from skerry.device.training.plan import TrainPlan
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.security.anomaly import RootSetDetector
from skerry.security.anomaly.screening import ScreenContext, Screener
from skerry.security.identity import Directory, Identity
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.security.privacy.stream import ChaChaStream, keyed_stream, seeded_stream
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.publisher import Publisher
from skerry.server.audit import Auditor
from skerry.server.held_out import HeldOut
from skerry.server.prepare import Prepared, train_plan
from skerry.server.provision import coordinator_identity, device_directory, published, run_secret
from skerry.server.remaining import budget_of
from skerry.server.remember import FleetMemory
from skerry.server.resume import Past, read_past
from skerry.server.root_set import RootSet
from skerry.server.roster import Roster
from skerry.server.screen_choice import ScreenChoice, choose_screen
from skerry.server.tracing import UNTRACED, Tracing

__all__ = ["Federation"]


@dataclass(frozen=True)
class Federation:
    """A run's fixed parts; what changes from round to round is in :class:`skerry.server.rounds.Progress`, and of a
    fleet who is there in its roster.

    ``secret`` keys the coordinator's random draws over a fleet; those of a simulation follow its seed.
    ``excluded`` devices are in quarantine from before the run: they have no node here, and are asked nothing.
    """

    folder: RunFolder
    scenario: Scenario
    grid: Grid
    clock: Clock
    task: Task
    model: LocalModel
    coordinator: Identity
    roster: Roster
    ledger: Ledger
    log: Publisher
    choice: ScreenChoice
    screener: Screener
    plan: TrainPlan
    held_out: HeldOut
    auditor: Auditor | None = None
    root: RootSet | None = None
    past: Past = field(default_factory=Past)
    excluded: tuple[str, ...] = ()
    memory: FleetMemory | None = None
    secret: bytes | None = None
    tracing: Tracing = UNTRACED

    @property
    def simulated(self) -> bool:
        """Whether the devices were made for the run."""
        return self.secret is None

    @property
    def directory(self) -> Directory:
        """The keys by which devices are known now."""
        return self.roster.directory

    @property
    def nodes(self) -> Mapping[str, int]:
        """The node of each device that has answered for itself."""
        return self.roster.nodes

    @property
    def members(self) -> Mapping[str, int]:
        """The number of the ledger entry that names each device."""
        return self.roster.members

    def stream(self, *labels: str | int) -> ChaChaStream:
        """Random bits of the coordinator, the same for the same labels if the run is stopped and goes on.

        Over a fleet nobody can compute them who has not the run's secret.
        """
        if self.secret is None:
            return seeded_stream(self.scenario.seed, *labels)
        return keyed_stream(self.secret, *labels)

    @property
    def run(self) -> str:
        """The run's id, which every envelope is bound to."""
        return self.folder.id

    def publish(self, state: Checkpoint) -> None:
        """Sign a state of the population's ledger, of which all is on stable storage, and leave it for witnesses."""
        self.log.publish(self.ledger.tree, state, NoteSigner(state.origin, self.coordinator.signing))

    def plan_for(self, number: int) -> TrainPlan:
        """The plan of one round: that of the run, at the learning rate of its schedule."""
        if self.scenario.training.schedule == "constant":
            return self.plan
        share = 0.5 * (1 + math.cos(math.pi * (number - 1) / self.scenario.rounds))
        return replace(self.plan, learning_rate=self.plan.learning_rate * share)

    def noise_std(self, number: int) -> float:
        """Standard deviation of the honest DP noise per coordinate of a round's delta; 0 without privacy.

        Each step adds noise σ·C per coordinate to the gradient sum, which is then divided by the public denominator
        (times the sampling rate) and multiplied by the learning rate.
        """
        plan = self.plan_for(number)
        step = plan.learning_rate * plan.noise_multiplier * plan.clip / (plan.sampling_rate * plan.denominator)
        return float(step * np.sqrt(plan.steps)) if plan.unit == "example" else 0.0

    def screen_context(self, number: int, vector: Float32Array | None = None) -> ScreenContext:
        """What the detectors may know about honest updates in this round.

        No bound on the signal is claimed: a device may hold more examples than the public denominator.

        Args:
            number: of the round.
            vector: ``(d,)`` what it started from; without it nothing is computed on public examples.
        """
        whole = self.scenario.model.trainable in {"full", "qat"}
        noise = self.noise_std(number)
        context = ScreenContext(number, noise, float("inf"), self.plan.steps, start=vector, whole=whole)
        if self.root is None or vector is None:
            return context
        asked = (vector, self.plan_for(number), self.scenario.seed, number)
        return replace(
            context,
            root=self.root.updates(*asked),
            mislabelled=partial(self.root.mislabelled, *asked) if self.root.can_mislabel else None,
        )

    @staticmethod
    def assemble(
        folder: RunFolder,
        prepared: Prepared,
        grid: Grid,
        nodes: Mapping[str, int] | Roster,
        clock: Clock,
        *,
        excluded: tuple[str, ...] = (),
        memory: FleetMemory | None = None,
        tracing: Tracing = UNTRACED,
    ) -> "Federation":
        """Put the parts together and open the population's ledger; one that is there is a run that goes on.

        Args:
            folder: the run.
            prepared: its task and model.
            grid: Flower's connection to the nodes.
            nodes: of the simulated devices; or the roster of a fleet.
            clock: milliseconds since the epoch.
            excluded: see the class.
            memory: without it nothing of the run outlives it.
            tracing: where its spans go.
        """
        scenario = folder.scenario
        privacy = scenario.privacy
        policy = Policy(unit=privacy.unit, epsilon=privacy.epsilon, delta=privacy.delta, simulated=folder.simulated)
        path = folder.path / "ledger" / "population.jsonl"
        if not path.exists():
            Ledger.create(path, scope="population", subject=folder.id, policy=policy, now=clock()).close()
        ledger = Ledger.open(path)
        ledger.sync()  # rounds that it says are open are not opened again
        past = read_past(folder, ledger)
        roster = (
            nodes
            if isinstance(nodes, Roster)
            else Roster(device_directory(folder), dict(nodes), budget=budget_of(privacy))
        )
        roster.members |= past.members
        roster.enter(ledger, clock())
        defence = scenario.defence
        choice = choose_screen(scenario, prepared.task)
        screener = Screener(choice.names, defence.tolerate, false_alarms=defence.false_alarms)
        screener.exclude(excluded)
        if past.checkpoint is not None:
            screener.restore(past.checkpoint.screener)
        auditor = Auditor.of(folder, prepared.task, prepared.model)
        if auditor is not None:
            auditor.commit(ledger, clock())
        return Federation(
            folder=folder,
            scenario=scenario,
            grid=grid,
            clock=clock,
            task=prepared.task,
            model=prepared.model,
            coordinator=coordinator_identity(folder),
            roster=roster,
            ledger=ledger,
            log=Publisher(published(folder)),
            choice=choice,
            screener=screener,
            plan=train_plan(scenario),
            held_out=HeldOut(prepared.task, prepared.model),
            auditor=auditor,
            root=RootSet.of(prepared.task, prepared.model) if RootSetDetector.name in choice.names else None,
            past=past,
            excluded=excluded,
            memory=memory,
            secret=None if folder.simulated else run_secret(folder),
            tracing=tracing,
        )
