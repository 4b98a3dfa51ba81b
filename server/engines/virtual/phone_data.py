"""What ten thousand phones hold: few examples each, of few classes, and many on some."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.fashion import FashionTask
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["PhoneData", "fashion_phones", "synthetic_phones", "uneven_split"]

Labels = npt.NDArray[np.int64]

_FEWEST = 2


@dataclass(frozen=True)
class PhoneData:
    """Examples of all phones behind one another, and held-out ones.

    Attributes:
        x: ``(N, f)`` float32 features; those of phone i are the rows ``offsets[i]:offsets[i + 1]``.
        y: ``(N,)`` classes.
        offsets: ``(n + 1,)``.
        test_x: ``(M, f)`` of nobody who trains.
        test_y: ``(M,)``.
        classes: how many there are.
    """

    x: Float32Array
    y: Labels
    offsets: Labels
    test_x: Float32Array
    test_y: Labels
    classes: int

    @property
    def counts(self) -> Labels:
        """``(n,)``: examples of each phone."""
        return np.diff(self.offsets)

    def of(self, phones: Labels) -> tuple[Float32Array, Labels, Float32Array]:
        """Examples of ``(m,)`` phones side by side, filled up to the longest.

        Returns:
            ``(m, l, f)`` features, ``(m, l)`` classes, and ``(m, l)`` weights that add up to 1 for each phone and are 0
            where it has no example.
        """
        counts = self.counts[phones]
        steps = np.arange(int(counts.max(initial=1)))
        there = steps < counts[:, None]
        rows = np.where(there, self.offsets[phones][:, None] + steps, 0)
        weights = (there / counts.clip(min=1)[:, None]).astype(np.float32)
        return self.x[rows] * there[..., None].astype(np.float32), self.y[rows], weights


def fashion_phones(
    phones: int, *, seed: int, alpha: float = 0.3, features: int = 64, root: Path | None = None
) -> PhoneData:
    """Fashion-MNIST on so many phones: 54,000 pictures by :func:`uneven_split`, and 10,000 test pictures.

    Pictures are projected to the main components of 6,000 public ones, which no phone has.

    Args:
        phones: n; each has at least two pictures.
        seed: of the split.
        alpha: concentration: the smaller, the fewer classes a phone has.
        features: main components that are kept.
        root: folder of the four files; None for where Debian's package puts them.

    Raises:
        MissingDependencyError: the files are not there.
        InputError: too many phones for the pictures.
    """
    task = FashionTask(TaskConfig(name="fashion", devices=1, seed=seed, root=root), ModelConfig(input_size=32))
    private = task.local_data(task.devices()[0])
    public = _flat(task.public_data().x)
    mean = public.mean(axis=0)
    _, _, axes = np.linalg.svd(public - mean, full_matrices=False)
    scale = np.float32(np.sqrt(features) / np.linalg.norm((public - mean) @ axes[:features].T, axis=1).mean())
    project = axes[:features].T * scale
    order, counts = uneven_split(private.y, phones, alpha=alpha, generator=np.random.default_rng([seed, 11]))
    test = next(iter(task.evaluation().values()))
    return PhoneData(
        x=(_flat(private.x[order]) - mean) @ project,
        y=private.y[order],
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        test_x=(_flat(test.x) - mean) @ project,
        test_y=test.y,
        classes=len(task.classes),
    )


def uneven_split(y: Labels, phones: int, *, alpha: float, generator: np.random.Generator) -> tuple[Labels, Labels]:
    """Share labelled examples out so that phones have few classes, and very different numbers of examples.

    Numbers are log-normal with a spread of 1, at least two; each phone has its own mix of classes, from a Dirichlet
    distribution around that of all (Hsu, Qi, Brown 2019, arXiv:1909.06335, section 3), and gets of each class what is
    left.

    Args:
        y: ``(N,)`` classes.
        phones: among how many.
        alpha: concentration of the mixes.
        generator: all randomness comes from it.

    Returns:
        Indices of the examples phone after phone, each at most once, and how many each phone has.

    Raises:
        InputError: fewer than two examples a phone.
    """
    if phones < 1 or len(y) < _FEWEST * phones:
        what = f"{len(y):,} examples are not {_FEWEST} for each of {phones:,} phones"
        raise InputError(what, mend="ask for fewer phones")
    sizes = np.exp(generator.normal(0.0, 1.0, phones))
    counts = (_FEWEST + np.floor(sizes / sizes.sum() * (len(y) - _FEWEST * phones))).astype(np.int64)
    totals = np.bincount(y)
    mixes = generator.dirichlet(alpha * totals / totals.sum() + 1e-9, phones)
    pools = [generator.permutation(np.flatnonzero(y == label)).tolist() for label in range(len(totals))]
    taken: list[int] = []
    for mix, count in zip(mixes, counts.tolist(), strict=True):
        end = len(taken) + count
        for pool, wanted in zip(pools, generator.multinomial(count, mix).tolist(), strict=True):
            taken += [pool.pop() for _ in range(min(wanted, len(pool)))]
        while len(taken) < end:  # a class ran out: whatever is left most of
            taken.append(max(pools, key=len).pop())
    return np.array(taken, np.int64), counts


def synthetic_phones(phones: int, *, seed: int, alpha: float = 0.5, beta: float = 0.5, features: int = 32) -> PhoneData:
    """Data from a seed, unlike from phone to phone: "synthetic(α, β)" of Li et al. 2020, "Federated optimization in
    heterogeneous networks" (arXiv:1812.06127), section 5.1, with softmax labels of ten classes.

    Every eleventh phone's worth of examples is drawn for the test, from phones that do not train.

    Args:
        phones: n that train.
        seed: of everything.
        alpha: how much phones' labellings differ.
        beta: how much their examples do.
        features: of an example.

    Raises:
        InputError: no phones.
    """
    if phones < 1:
        raise InputError(f"data are for at least one phone, got {phones}")
    classes = 10
    chance = np.random.default_rng([seed, 12])
    everybody = phones + max(phones // 10, 1)
    counts = np.rint(np.exp(chance.normal(1.6, 0.8, everybody))).clip(_FEWEST, 200).astype(np.int64)
    shared = chance.normal(size=(features, classes))  # what phones have in common, or there would be nothing to learn
    owner = np.repeat(np.arange(everybody), counts)
    own = chance.normal(0.0, alpha, (everybody, 1, classes))
    centre = chance.normal(0.0, beta, (everybody, features))
    spread = np.arange(1, features + 1) ** -0.6
    x = (centre[owner] + chance.normal(size=(len(owner), features)) * spread).astype(np.float32)
    scores = x @ shared.astype(np.float32) + own[owner, 0].astype(np.float32)
    y = scores.argmax(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    end = int(offsets[phones])
    return PhoneData(x[:end], y[:end], offsets[: phones + 1], x[end:], y[end:], classes)


def _flat(pictures: npt.NDArray[np.uint8]) -> Float32Array:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / np.float32(255)
