"""The scan: what is scanned, how it is looked at, and what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skerry.config import Scenario
from skerry.device.evaluation.probes import Probe, Scores, probe_classes
from skerry.device.full_model import FullModel
from skerry.device.head_model import HeadModel
from skerry.device.local_model import LocalModel, load_local_model
from skerry.device.personal import PersonalModel
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.task import Task
from skerry.errors import InputError
from skerry.records import Float32Array, Verdict
from skerry.runfolder import RunFolder
from skerry.server.backdoor import backdoor_success, base_digest
from skerry.server.checkpoint import load_checkpoint
from skerry.server.scan.head_change import HeadChange, head_change
from skerry.server.scan.verdict_record import DeviceRecord, verdict_record

if TYPE_CHECKING:
    from torch import nn

    from skerry.device.evaluation.shortcuts import Shortcut

__all__ = ["CANNOT_SEE", "Scan", "Subject", "scan", "subject_of_file", "subject_of_run"]

CANNOT_SEE = (
    "triggers that are no patch of one value: a pattern, a change of style, one that differs between examples",
    "triggers much smaller than a quarter of each side, or that call up several classes at once",
    "triggers that work only on examples unlike the public ones",
    "poisoning that calls up no class, such as flipped labels",
    "hostile updates that differ from honest ones in no figure that a detector has",
)
"""Finding nothing is no proof that nothing is there."""

_EXAMPLES = 64  # public examples that are probed
_INVERTED, _CELLS, _STEPS = 24, 16, 150  # examples and steps of the search for shortcuts: it takes minutes


@dataclass(frozen=True)
class Subject:
    """A model to scan.

    Attributes:
        name: of the run or file.
        task: whose public examples are used.
        scores: of raw examples; see :data:`~skerry.device.evaluation.probes.Scores`.
        head: the trained and the public head, of a run that trains one.
        verdicts: of a run.
        round: the last finished one, of a run.
        trigger_success: how often the trigger of simulated attackers works on held-out devices, where there are some.
    """

    name: str
    task: Task
    scores: Scores
    head: tuple[Float32Array, Float32Array] | None = None
    verdicts: tuple[Verdict, ...] = ()
    round: int | None = None
    trigger_success: float | None = None


@dataclass(frozen=True)
class Scan:
    """What was found.

    Attributes:
        subject: what was scanned.
        examples: public ones that were used.
        probes: one for each class.
        shortcuts: one for each class; None: they were not sought.
        head: None where no head was trained.
        record: devices of a run of which anything was said.
    """

    subject: Subject
    examples: int
    probes: tuple[Probe, ...]
    shortcuts: "tuple[Shortcut, ...] | None"
    head: HeadChange | None
    record: tuple[DeviceRecord, ...]

    @property
    def found(self) -> tuple[str, ...]:
        """A sentence for each thing that should not be there.

        ``record`` gives none: honest updates raise alarms too. It is no evidence about the model (ADR 42).
        """
        return (*self._by_probes(), *self._by_shortcuts(), *self._by_head())

    @property
    def judged(self) -> dict[str, bool]:
        """Of each part that was looked at, whether it had enough to compare to find anything at all."""
        judged = {"probes": all(probe.judged for probe in self.probes)}
        if self.shortcuts is not None:
            from skerry.device.evaluation.shortcuts import LEAST_CLASSES

            judged["shortcuts"] = len(self.shortcuts) >= LEAST_CLASSES
        if self.head is not None:
            judged["head"] = self.head.judged
        return judged

    def to_json(self) -> dict[str, Any]:
        """The document, with what a scan cannot see."""
        return {
            "schema": 1,
            "name": self.subject.name,
            "round": self.subject.round,
            "classes": list(self.subject.task.classes),
            "examples": self.examples,
            "found": list(self.found),
            "judged": self.judged,
            "probes": [probe.to_json() for probe in self.probes],
            "shortcuts": None if self.shortcuts is None else self._shortcuts_json(),
            "head": None if self.head is None else self.head.to_json(),
            "record": None if self.subject.round is None else [device.to_json() for device in self.record],
            "trigger_success": self.subject.trigger_success,
            "cannot_see": list(CANNOT_SEE),
        }

    def _shortcuts_json(self) -> list[dict[str, Any]]:
        from skerry.device.evaluation.shortcuts import anomaly_indices, suspicious

        assert self.shortcuts is not None
        indices = anomaly_indices([shortcut.size for shortcut in self.shortcuts]).tolist()
        odd = {shortcut.target for shortcut in suspicious(self.shortcuts)}
        return [
            {"target": s.target, "size": s.size, "works": s.works, "index": index, "suspicious": s.target in odd}
            for s, index in zip(self.shortcuts, indices, strict=True)
        ]

    def _by_probes(self) -> list[str]:
        classes = self.subject.task.classes
        return [
            f"a patch at {_place(p)} turns {p.share:.0%} of the examples of other classes into {classes[p.target]!r}"
            + ("" if p.public is None else f" ({p.public:.0%} of the public model's)")
            + ("" if p.index is None else f", {p.index:.1f} deviations above the other classes")
            for p in self.probes
            if p.suspicious
        ]

    def _by_shortcuts(self) -> list[str]:
        if self.shortcuts is None:
            return []
        return [
            f"the smallest patch for {self.subject.task.classes[s['target']]!r} is {s['index']:.1f} deviations smaller "
            f"than those of other classes"
            for s in self._shortcuts_json()
            if s["suspicious"]
        ]

    def _by_head(self) -> list[str]:
        if self.head is None:
            return []
        return [
            f"the head's row of {self.subject.task.classes[target]!r} changed {self.head.indices[target]:.1f} "
            "deviations more than those of other classes"
            for target in self.head.suspicious
        ]


def scan(
    subject: Subject,
    *,
    network: "nn.Module | None" = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Scan:
    """Look at a trained model for a backdoor; the same arguments give the same findings.

    No guarantee in either direction: see :data:`CANNOT_SEE`, and how often it errs in docs/attack-lab.md.

    Args:
        subject: what is scanned.
        network: transformed examples to scores with gradients down to its input, in which shortcuts are sought; None:
            they are not.
        seed: draws the public examples.
        progress: told what is being done, how much of it is done, and of how much.

    Raises:
        InputError: the task has no public examples that differ.
    """
    public = subject.task.public_data()
    chosen = np.random.default_rng(seed).permutation(len(public.x))[:_EXAMPLES]  # they may lie class by class
    x = public.x[chosen]
    probes = probe_classes(subject.scores, x, progress=lambda done, of: progress("probing with patches", done, of))
    shortcuts = None
    if network is not None:
        from skerry.device.evaluation.shortcuts import find_shortcuts

        given = subject.task.transform(x[:_INVERTED])
        shortcuts = find_shortcuts(
            network,
            given,
            low=float(given.min()),
            high=float(given.max()),
            steps=_STEPS,
            cells=_CELLS,
            progress=lambda done, of: progress("seeking the smallest patch of each class", done, of),
        )
    head = None if subject.head is None else head_change(*subject.head, len(subject.task.classes))
    return Scan(subject, len(x), probes, shortcuts, head, verdict_record(subject.verdicts))


def subject_of_run(folder: RunFolder, task: Task) -> Subject:
    """A run's model after its last finished round.

    Raises:
        InputError: no round was finished, or every device has a head of its own.
    """
    scenario, checkpoint = folder.scenario, load_checkpoint(folder)
    if checkpoint is None:
        raise InputError(
            "no round of this run was finished: there is no model to scan",
            where=str(folder.path),
            mend=f"`skerry runs show {folder.id}` says how far it came",
        )

    def load() -> LocalModel:
        return load_local_model(scenario.model, base_digest(folder), task)

    model = load()
    if isinstance(model, PersonalModel):
        raise InputError("every device of this run has a head of its own: there is no one model", where=folder.id)
    head = isinstance(model, HeadModel)
    # A network keeps what it made of one vector only, so the public one is another object.
    public = model if head else None if isinstance(model, FullModel) else load()
    return Subject(
        name=folder.id,
        task=task,
        scores=_both(model, checkpoint.released, public),
        head=(checkpoint.released, model.initial()) if head else None,
        verdicts=tuple(map(Verdict.from_json, folder.lines("verdicts.jsonl"))),
        round=checkpoint.round,
        trigger_success=_planted(scenario, task, model, checkpoint.released),
    )


def subject_of_file(path: Path, name: str, task: Task) -> Subject:
    """An ONNX file from examples to scores.

    Raises:
        InputError: it takes other inputs than the task gives, or has other classes.
    """
    model = OnnxModel(path)
    if tuple(model.input_shape) != tuple(task.input_shape) or tuple(model.output_shape) != (len(task.classes),):
        raise InputError(
            f"the file turns {model.input_shape} into {model.output_shape}, and the task {task.name} has examples of "
            f"{task.input_shape} and {len(task.classes)} classes",
            where=str(path),
            mend="name its own scenario by --scenario",
        )
    return Subject(name=name, task=task, scores=lambda x: [model.run(task.transform(x))])


def _both(model: LocalModel, vector: Float32Array, public: LocalModel | None) -> Scores:
    """Scores of the trained model and of the public one, where training did not begin with nothing."""

    def scores(x: npt.NDArray[Any]) -> Sequence[Float32Array]:
        inputs = model.prepare(x)
        trained = model.deployed_logits(vector, x, inputs)
        return [trained] if public is None else [trained, public.deployed_logits(public.initial(), x, inputs)]

    return scores


def _planted(scenario: Scenario, task: Task, model: LocalModel, vector: Float32Array) -> float | None:
    return backdoor_success(scenario, task, model, vector) if scenario.attack.devices else None


def _place(probe: Probe) -> str:
    sides = zip(probe.rectangle.corner, probe.rectangle.sides, strict=True)
    return " × ".join(f"{start}…{start + side - 1}" for start, side in sides)
