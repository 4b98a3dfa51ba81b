"""One cell of a grid: a small federation on MNIST-1D, some of its devices hostile, under one defence."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.dirichlet import dirichlet_split
from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.security.anomaly import ScreenContext, Screener
from skerry.security.anomaly.clipping import clipped
from skerry.security.attacks import Attack, Knowledge
from skerry.security.privacy.stream import RandomStream, seeded_stream
from skerry.server.lab.mnist1d import CLASSES, Examples, mnist1d
from skerry.server.lab.network import Perceptron
from skerry.server.lab.poisons import BACKDOORS, attack_on_rows, poisoned, trigger_of
from skerry.server.tolerance import rule_for
from skerry.strategies import parse_rule

__all__ = ["Defence", "Outcome", "Setting", "train"]

_NETWORK = Perceptron()
_LEAST = 8  # examples of a device
_ROOT_EXAMPLES = 300  # with the detector root_set
_ROOT_SEED = 1_000_000  # other examples than any seed of a grid gives its devices
_SCARCE = 2  # honest devices that Setting.few speaks of
_EARLY = 10  # the round whose updates a replayer sends again


@dataclass(frozen=True)
class Setting:
    """The federation of a grid.

    Attributes:
        honest: devices that follow the protocol.
        hostile: devices that do not.
        silent: hostile devices, the last by name, that send nothing and are known to be hostile from the beginning, as
            if they had been found; data, batches, noise and the rows of all others are the same as with 0.
        alpha: concentration of the Dirichlet split of the classes over all devices.
        steps: rounds, one momentum gradient of each device in each.
        batch: examples of a device in a round.
        momentum: each device sends ``m ← momentum·m - (1 - momentum)·gradient``.
        learning_rate: of the first round, falling to zero along a cosine.
        target: class that the trigger of a backdoor calls up; without effect on other attacks.
        few: examples that the first two honest devices by name have; None for what the split gives them.
    """

    honest: int = 12
    hostile: int = 3
    alpha: float = 0.3
    steps: int = 300
    batch: int = 32
    momentum: float = 0.9
    learning_rate: float = 0.5
    target: int = 0
    few: int | None = None
    silent: int = 0


@dataclass(frozen=True)
class Defence:
    """What the coordinator does: a rule, and detectors before it (none: only rows that are not finite are dropped).

    ``false_alarms`` is the rate at which they may flag honest updates, None for fixed limits.
    """

    aggregator: str
    screen: tuple[str, ...] = ()
    false_alarms: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        accuracy: on test examples, honest and unchanged.
        success: backdoors only: share of the test examples of other classes that the trigger makes the target class.
        caught: hostile devices in quarantine at the end.
        wronged: honest devices in quarantine at the end.
        dropped: hostile rows kept out, over all that were sent; 0 when none was sent.
        dropped_honest: the same of honest rows.
        parameters: ``(d,)`` float32 of the network.
        wronged_few: how many of the wronged have :attr:`Setting.few` examples.
    """

    accuracy: float
    success: float | None
    caught: int
    wronged: int
    dropped: float
    dropped_honest: float
    parameters: Float32Array = field(repr=False, compare=False)
    wronged_few: int = 0


def train(defence: Defence, attack: str, setting: Setting, seed: int) -> Outcome:
    """Train from nothing and test; the same arguments give the same outcome.

    Which devices are hostile is drawn, for rules and detectors in doubt prefer the first by name. Hostile devices see
    every honest row and the rule, without the screen before it.

    Raises:
        ScenarioError: unknown rule or detector.
        InputError: unknown attack.
    """
    return _Federation(defence, attack, setting, seed).run()


def hostile_places(setting: Setting, seed: int) -> npt.NDArray[np.bool_]:
    """Which of the devices, in the order of their names, are hostile."""
    generator = np.random.default_rng([seed, 1])  # not the one that draws data and batches
    places: npt.NDArray[np.bool_] = generator.permutation(setting.honest + setting.hostile) >= setting.honest
    return places


class _Federation:
    def __init__(self, defence: Defence, attack: str, setting: Setting, seed: int) -> None:
        self._defence, self._setting, self._seed, self._kind = defence, setting, seed, attack
        self._attack = attack_on_rows(attack)
        self._rng = np.random.default_rng(seed)
        self._train, self._test = _data(seed)
        count = setting.honest + setting.hostile
        self._hostile = hostile_places(setting, seed)
        names = [f"device-{number:03d}" for number in range(count)]
        self._sends = np.ones(count, np.bool_)
        self._sends[np.flatnonzero(self._hostile)[setting.hostile - setting.silent :]] = False
        self._names = [name for name, sends in zip(names, self._sends, strict=True) if sends]
        self._data = self._shared_out(count)
        self._screener = Screener(defence.screen, tolerate=setting.hostile, false_alarms=defence.false_alarms)
        self._screener.exclude(set(names) - set(self._names))
        self._kept = np.zeros((2, 2), np.int64)  # honest and hostile rows: accepted, dropped

    def run(self) -> Outcome:
        setting = self._setting
        parameters = _NETWORK.initial(self._rng)
        momentum = np.zeros((len(self._data), _NETWORK.size), np.float32)
        root = _RootMomentum(self._seed, setting.momentum) if "root_set" in self._defence.screen else None
        last: Float32Array | None = None
        early: Float32Array | None = None
        for number in range(setting.steps):
            features, labels = self._batches()
            gradients = _NETWORK.gradients(parameters, features, labels)
            momentum = np.float32(setting.momentum) * momentum - np.float32(1 - setting.momentum) * gradients
            rows = momentum.copy()
            if self._attack is not None and setting.hostile:
                rows[self._hostile] = self._sent(self._attack, rows, last, early, number)
            if number == _EARLY:
                early = momentum[self._hostile].copy()
            step = self._aggregate(rows[self._sends], number, parameters, root)
            if step is None:
                continue
            rate = setting.learning_rate * 0.5 * (1 + np.cos(np.pi * number / setting.steps))
            last = step
            with np.errstate(over="ignore", invalid="ignore"):
                parameters = parameters + np.float32(rate) * step
            if not np.isfinite(parameters).all():
                break
        return self._outcome(np.nan_to_num(parameters))

    def _shared_out(self, count: int) -> list[Examples]:
        labels = self._train.labels
        parts = dirichlet_split(labels, count, alpha=self._setting.alpha, minimum=_LEAST, generator=self._rng)
        shared = [Examples(self._train.features[part], labels[part]) for part in parts]
        honest, hostile = shared[: self._setting.honest], shared[self._setting.honest :]
        if self._setting.few is not None:
            honest[:_SCARCE] = [_drawn(data, self._setting.few, self._seed) for data in honest[:_SCARCE]]
        target = self._setting.target
        poison = [poisoned(self._kind, data, number, len(hostile), target) for number, data in enumerate(hostile)]
        kinds = {False: iter(honest), True: iter(poison)}
        return [next(kinds[bad]) for bad in self._hostile.tolist()]

    def _batches(self) -> tuple[Float32Array, npt.NDArray[np.int64]]:
        chosen = [self._rng.integers(len(data.labels), size=self._setting.batch) for data in self._data]
        pairs = list(zip(self._data, chosen, strict=True))
        return np.stack([d.features[i] for d, i in pairs]), np.stack([d.labels[i] for d, i in pairs])

    def _sent(
        self, attack: Attack, rows: Float32Array, last: Float32Array | None, early: Float32Array | None, number: int
    ) -> Float32Array:
        known = Knowledge(
            own=rows[self._hostile],
            honest=rows[~self._hostile],
            last=last,
            early=early,
            rule=parse_rule(self._defence.aggregator, tolerate=self._setting.hostile, seed=number),
        )
        stream: RandomStream = seeded_stream(self._seed, "attack", number)
        return attack.rows(known, stream)

    def _aggregate(
        self, rows: Float32Array, number: int, parameters: Float32Array, root: "_RootMomentum | None"
    ) -> Float32Array | None:
        """The rule over what the screen lets pass; None when too few are left for it."""
        context = ScreenContext(number, 0.0, float("inf"), start=parameters, whole=True)
        if root is not None:
            root.follow(parameters)
            context = replace(context, root=root.right, mislabelled=root.wrong)
        verdicts = self._screener.screen(rows, self._names, context)
        passed = np.array([verdict.kept for verdict in verdicts], np.bool_)
        np.add.at(self._kept, (self._hostile[self._sends].astype(int), (~passed).astype(int)), 1)
        rule = rule_for(
            self._defence.aggregator,
            tolerate=self._setting.hostile,
            out=self._setting.silent + int((~passed).sum()),
            rows=int(passed.sum()),
            seed=number,
        )
        try:
            return rule(clipped(rows[passed], [verdict for verdict in verdicts if verdict.kept]))
        except AggregationError:
            return None

    def _outcome(self, parameters: Float32Array) -> Outcome:
        test = self._test
        success = None
        if self._kind in BACKDOORS:
            trigger = trigger_of(self._setting.target)
            seen = _NETWORK.scores(parameters, trigger.stamped(test.features)).argmax(axis=-1)
            success = trigger.success(seen, test.labels)
        out = {place for place, name in enumerate(self._names) if name in self._screener.quarantined}
        hostile = set(np.flatnonzero(self._hostile[self._sends]).tolist())
        (_, wrong), (_, right) = self._kept.tolist()
        sent_honest, sent_hostile = self._kept.sum(axis=1).tolist()
        return Outcome(
            accuracy=_NETWORK.accuracy(parameters, test.features, test.labels),
            success=success,
            caught=len(out & hostile),
            wronged=len(out - hostile),
            dropped=right / sent_hostile if sent_hostile else 0.0,
            dropped_honest=wrong / sent_honest if sent_honest else 0.0,
            parameters=parameters,
            wronged_few=0 if self._setting.few is None else len(out & self._first_honest()),
        )

    def _first_honest(self) -> set[int]:
        """Places of the devices that :attr:`Setting.few` speaks of."""
        return set(np.flatnonzero(~self._hostile[self._sends])[:_SCARCE].tolist())


class _RootMomentum:
    """What a device with examples of one class would send, under each label, from examples that nobody else has."""

    def __init__(self, seed: int, momentum: float) -> None:
        data, _ = mnist1d(_ROOT_SEED + seed, train=_ROOT_EXAMPLES, test=CLASSES)
        by_class = [np.flatnonzero(data.labels == label) for label in range(CLASSES)]
        least = min(map(len, by_class))
        chosen = np.stack([index[:least] for index in by_class])
        self._features, self._labels = data.features[chosen], data.labels[chosen]
        self._share = np.float32(momentum)
        self.right = np.zeros((CLASSES, _NETWORK.size), np.float32)
        """``(classes, d)`` under their own labels."""
        self._wrong = np.zeros((CLASSES - 1, CLASSES, _NETWORK.size), np.float32)
        self._behind: list[Float32Array] = []  # parameters of rounds whose wrong labels nobody has asked for yet

    def follow(self, parameters: Float32Array) -> None:
        """Carry them on by this round."""
        self._carry_on(self.right, parameters, 0)
        self._behind.append(parameters)

    def wrong(self) -> Float32Array:
        """``(classes² - classes, d)`` under all other labels; computed when asked for, since hardly a run asks."""
        for parameters in self._behind:
            for number, momentum in enumerate(self._wrong):
                self._carry_on(momentum, parameters, number + 1)
        self._behind.clear()
        return self._wrong.reshape(-1, _NETWORK.size)

    def _carry_on(self, momentum: Float32Array, parameters: Float32Array, shift: int) -> None:
        gradients = _NETWORK.gradients(parameters, self._features, (self._labels + shift) % CLASSES)
        momentum *= self._share
        momentum -= (1 - self._share) * gradients


def _drawn(data: Examples, count: int, seed: int) -> Examples:
    """So many of a device's examples, or all where it has no more."""
    generator = np.random.default_rng([seed, 2])  # not the one that draws data and batches
    chosen = generator.permutation(len(data.labels))[:count]
    return Examples(data.features[chosen], data.labels[chosen])


@lru_cache(maxsize=16)
def _data(seed: int) -> tuple[Examples, Examples]:
    """Read-only: many cells share them."""
    return mnist1d(seed)
