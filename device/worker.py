"""What a process keeps between messages: data, models, keys. Loaded once, however many devices or rounds it serves.

A phone or a Pi has one device in one process; the in-process engine has all of them; a Ray actor has some. Private
features live here in memory, keyed by device, and nowhere else.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.clock import Stopwatch
from skerry.config import ModelConfig, TaskConfig
from skerry.device.canaries import CanaryPlan, canaries_of, planted
from skerry.device.care import Care, Unattended
from skerry.device.head_model import HeadModel
from skerry.device.ledgers import Ledgers
from skerry.device.local_model import LocalModel, load_local_model
from skerry.device.poisoning import poisoned
from skerry.device.protocol import Instruction
from skerry.device.state import DeviceHome
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.device.yielding import parts_of
from skerry.errors import InputError, RefusedError
from skerry.records import Float32Array
from skerry.security.attacks import POISONS
from skerry.security.identity import Directory, Identity, PublicIdentity
from skerry.syncer import Syncer

__all__ = ["Outcome", "Resident", "Worker", "process_worker"]

_REFUSALS = 64  # kept


@dataclass(frozen=True)
class Resident:
    """A device as this process holds it: its home, keys and trusted senders."""

    home: DeviceHome
    identity: Identity
    coordinator: PublicIdentity
    directory: Directory


@dataclass(frozen=True)
class Outcome:
    """How an instruction was answered, for the device's owner.

    Attributes:
        run: of the instruction.
        round: of the instruction.
        reason: of the refusal; empty where it was followed.
        what: why, in words that stay on the device.
    """

    run: str
    round: int
    reason: str = ""
    what: str = ""


@dataclass(frozen=True)
class _Heard:
    payload: bytes
    instruction: Instruction
    digest: bytes


@dataclass
class Worker:
    """Caches of one process; ``watch`` adds up where its devices' time goes, and stays in the process;
    ``care`` says when they may work.

    ``fetch`` brings the base of a digest onto this machine; ``told`` hears how each instruction was answered, before
    the answer is sealed.

    A task's data are read once: what changes on disk while the process lives is not seen by it.
    """

    residents: dict[Path, Resident] = field(default_factory=dict)
    configs: dict[Any, Any] = field(default_factory=dict)
    trusted: dict[bytes, PublicIdentity] = field(default_factory=dict)
    tasks: dict[tuple[TaskConfig, ModelConfig], Task] = field(default_factory=dict)
    models: dict[tuple[ModelConfig, str | None], LocalModel] = field(default_factory=dict)
    refusals: dict[tuple[ModelConfig, str | None], RefusedError] = field(default_factory=dict)
    identities: dict[tuple[int, str], tuple[Task, str]] = field(default_factory=dict)
    inputs: dict[tuple[str, str], tuple[Any, npt.NDArray[np.int64]]] = field(default_factory=dict)
    begun: dict[tuple[str, str, int], list[Float32Array]] = field(default_factory=dict)
    views: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    with_canaries: dict[tuple[str, str, str, CanaryPlan, int], tuple[Any, npt.NDArray[np.int64]]] = field(
        default_factory=dict
    )
    with_poison: dict[tuple[str, str, str, int], tuple[Any, npt.NDArray[np.int64]]] = field(default_factory=dict)
    heard: _Heard | None = None
    told: Callable[[Outcome], None] = field(default=lambda _: None)
    fetch: Callable[[str], None] | None = None
    ledgers: Ledgers = field(default_factory=Ledgers)
    syncer: Syncer = field(default_factory=Syncer)
    watch: Stopwatch = field(default_factory=Stopwatch)
    care: Care = field(default_factory=Unattended)

    def resident(self, path: Path) -> Resident:
        """The device whose home is at ``path``."""
        if path not in self.residents:
            found = DeviceHome.load(path)
            # One object for equal configurations: then looking one up compares nothing.
            home = replace(
                found,
                task=self.configs.setdefault(found.task, found.task),
                model=self.configs.setdefault(found.model, found.model),
            )
            coordinator = self._trusted(home.trust())
            directory = Directory({coordinator.name: coordinator})  # its coordinator, nobody else
            self.residents[path] = Resident(home, home.identity(), coordinator, directory)
        return self.residents[path]

    def _trusted(self, said: bytes) -> PublicIdentity:
        """The coordinator that these bytes name: read once for the devices of a fleet, which all have the same."""
        if said not in self.trusted:
            self.trusted[said] = PublicIdentity.from_json(json.loads(said))
        return self.trusted[said]

    def instruction(self, payload: bytes) -> tuple[Instruction, bytes]:
        """The instruction in these bytes, and their SHA-256; the last is kept: a round tells all devices the same.

        Raises:
            InputError: the bytes are not an instruction.
        """
        heard = self.heard
        if heard is None or heard.payload != payload:
            heard = _Heard(payload, Instruction.from_bytes(payload), hashlib.sha256(payload).digest())
            self.heard = heard
        return heard.instruction, heard.digest

    def task(self, task: TaskConfig, model: ModelConfig) -> Task:
        """The task of this configuration."""
        key = (task, model)
        if key not in self.tasks:
            self.configs |= {task: task, model: model}
            self.tasks[key] = load_task(task, model)
        return self.tasks[key]

    def model(self, config: ModelConfig, digest: str | None, task: Task) -> LocalModel:
        """The model of this configuration over the base of that digest.

        A base with operations that are not run here is read once: its digest stands for them. What else is refused is
        looked at each time, as it may have been repaired or delivered since.

        Raises:
            InputError, RefusedError, MissingDependencyError: see :func:`load_local_model`.
        """
        key = (config, digest)
        if key in self.refusals:
            known = self.refusals[key]
            raise RefusedError(known.reason, known.what, where=known.where, mend=known.mend)
        if key not in self.models:
            try:
                self.models[key] = self._loaded(config, digest, task)
            except RefusedError as error:
                if error.reason == "layer_refused":
                    self._remember(key, error)
                raise
        return self.models[key]

    def _loaded(self, config: ModelConfig, digest: str | None, task: Task) -> LocalModel:
        """The model; one whose base is not on this machine, or damaged, is fetched, where somebody said how."""
        try:
            return load_local_model(config, digest, task)
        except (InputError, RefusedError) as error:
            refused = isinstance(error, RefusedError) and error.reason != "wrong_model"
            if self.fetch is None or digest is None or refused:
                raise
            self.fetch(digest)
            return load_local_model(config, digest, task)

    def _remember(self, key: tuple[ModelConfig, str | None], refusal: RefusedError) -> None:
        if len(self.refusals) == _REFUSALS:
            del self.refusals[next(iter(self.refusals))]  # the oldest
        self.refusals[key] = RefusedError(refusal.reason, refusal.what, where=refusal.where, mend=refusal.mend)

    def local_inputs(self, device: str, task: Task, model: LocalModel) -> tuple[Any, npt.NDArray[np.int64]]:
        """The device's prepared inputs and labels; through the frozen base once, then from memory.

        Asked to yield, it keeps the features that it has by then.
        """
        key = (self.identity_of(device, task), model.digest)
        if key not in self.inputs:
            data = task.local_data(device)
            head = isinstance(model, HeadModel)
            inputs = self._features((*key, 0), model.prepare, data.x) if head else model.prepare(data.x)
            self.inputs[key] = (inputs, data.y)
        return self.inputs[key]

    def _features(
        self, key: tuple[str, str, int], prepare: Callable[[npt.NDArray[Any]], Float32Array], x: npt.NDArray[Any]
    ) -> Float32Array:
        """Of some examples at a time: each one's depend on it alone, so they are those of all at once."""
        found = self.begun.setdefault(key, [])
        for part in parts_of(len(x), sum(map(len, found))):
            found.append(prepare(x[part]))
        del self.begun[key]
        return np.concatenate(found) if found else prepare(x)

    def training_inputs(
        self, home: DeviceHome, task: Task, model: LocalModel, views: int = 1, *, attacked: bool = False
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """What the device trains on: its own examples, and in an audit those canaries whose coins put them in.

        A hostile device of a simulation may train on examples that it poisoned.

        ``(n, views, width)`` when there is more than one view, the example itself first; the views of a canary are all
        itself. More than one only where :func:`~skerry.device.local_model.has_views` says so. A head that is trained
        against attacks gets the examples themselves, whose features change as they are moved.
        """
        if attacked and isinstance(model, HeadModel):
            return self._examples(home, task, model)
        poison = _poison(home)
        if poison:
            own = self._poisoned_views(poison, home.data_of, task, model, views)
        else:
            own = self._own_views(home.data_of, task, model, views)
        if home.canaries is None:
            return own
        key = (self.identity_of(home.data_of, task), model.digest, poison, home.canaries, views)
        if key not in self.with_canaries:
            canaries = canaries_of(home.canaries, task, model)
            if views > 1:
                canaries = replace(canaries, inputs=np.repeat(canaries.inputs[:, None], views, axis=1))
            self.with_canaries[key] = planted(*own, home.canaries, canaries)
        return self.with_canaries[key]

    def _examples(self, home: DeviceHome, task: Task, model: HeadModel) -> tuple[Any, npt.NDArray[np.int64]]:
        """The device's examples before the frozen base; a hostile one's as it changed them."""
        poison = _poison(home)
        data = poisoned(poison, task, home.data_of) if poison else task.local_data(home.data_of)
        return model.examples(data.x), data.y

    def _own_views(self, device: str, task: Task, model: LocalModel, views: int) -> tuple[Any, npt.NDArray[np.int64]]:
        """The device's own inputs; each view goes through the frozen base once."""
        inputs, y = self.local_inputs(device, task, model)
        if views == 1:
            return inputs, y
        assert isinstance(model, HeadModel)
        key = (self.identity_of(device, task), model.digest)
        known = self.views.setdefault(key, [])
        x = task.local_data(device).x
        for number in range(len(known) + 1, views):
            view = functools.partial(model.prepare_view, number=number)
            known.append(self._features((*key, number), view, x))
        return np.stack([inputs, *known[: views - 1]], axis=1), y

    def _poisoned_views(
        self, kind: str, device: str, task: Task, model: LocalModel, views: int
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """:meth:`_own_views` of the examples as a hostile device changed them."""
        key = (self.identity_of(device, task), model.digest, kind, views)
        if key not in self.with_poison:
            data = poisoned(kind, task, device)
            inputs = model.prepare(data.x)
            if views > 1:
                assert isinstance(model, HeadModel)
                inputs = np.stack([inputs, *(model.prepare_view(data.x, n) for n in range(1, views))], axis=1)
            self.with_poison[key] = (inputs, data.y)
        return self.with_poison[key]

    def identity_of(self, device: str, task: Task) -> str:
        """The digest of the device's data; a task may have to read all of its files for it."""
        key = (id(task), device)
        if key not in self.identities:
            self.identities[key] = (task, task.identity(device))  # kept with the task: its id is taken while it lives
        return self.identities[key][1]


def _poison(home: DeviceHome) -> str:
    """How a hostile device of a simulation changes its examples; empty for all others."""
    if not home.simulated or home.hostile is None or home.hostile.kind not in POISONS:
        return ""
    return home.hostile.kind


@functools.cache
def process_worker() -> Worker:
    """The one worker of this process: what it holds is expensive and never changes."""
    return Worker()
