"""Training a network in one place, on public data: from scratch, after pruning, from a teacher, in simulated int8.

1. *check*: shapes, finite numbers, labels, precision, before anything is touched;
2. each step: a batch in a seeded order, augmented where asked, the loss, stochastic gradient descent with Nesterov
   momentum and a cosine learning rate after a linear warm-up (Loshchilov & Hutter, arXiv:1608.03983);
3. the loss is cross-entropy with label smoothing; with a teacher also T²·KL(teacher ‖ student) at temperature T
   (Hinton et al., arXiv:1503.02531);
4. with a recipe of adversarial training, its loss instead; where single steps turn out to overfit, the weights go back
   to when they did not, and training goes on with several.

There is no clipping and no noise here: private data have no business in this file.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.training.attacked import Attacked
from skerry.device.training.inference import inference
from skerry.device.training.precision import Precision, chosen_precision
from skerry.errors import InputError, RunFailedError
from skerry.records import Float32Array
from skerry.security.adversarial import AdversarialRecipe

__all__ = ["Augment", "Trained", "TrainingProgress", "one_thread", "predict", "train_centrally"]

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""A batch ``(n, c, h, w)`` to one of the same shape, by the generator's numbers alone."""

_WARM_UP = 0.1  # share of the steps; small batches on fresh norms diverge without one
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class TrainingProgress:
    """Where training is: steps done of those planned, and the mean loss of the last tenth of an epoch or so.

    Where replays were given up for several steps of attack, a step counts as all replays of its batch.
    """

    done: int
    of: int
    loss: float


@dataclass(frozen=True)
class Trained:
    """What training did.

    Attributes:
        loss: mean of the last epoch.
        steps: how many there were.
        precision: that was used.
        overfitted: epoch (from 1) after which single steps of attack were given up for several; None: never.
    """

    loss: float
    steps: int
    precision: Literal["float32", "bfloat16"]
    overfitted: int | None = None


def train_centrally(
    module: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    seed: int = 0,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    label_smoothing: float = 0.0,
    augment: Augment | None = None,
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    distillation: float = 0.7,
    precision: Precision = "float32",
    clip_norm: float | None = 5.0,
    adversarial: AdversarialRecipe | None = None,
    progress: Callable[[TrainingProgress], None] = lambda _: None,
) -> Trained:
    """Train in place the parameters of ``module`` that require a gradient; it is left in inference mode.

    Guarantees: weights are a function of the arguments and the seed (on one machine: kernels differ between
    processors); whatever stops it, Ctrl-C and divergence included, the module gets back the weights it came with.

    Args:
        module: ``(n, c, h, w)`` to ``(n, classes)`` logits.
        x: ``(n, c, h, w)`` float32 public examples, transformed.
        y: ``(n,)`` class indices; negative ones (no label) are allowed where only the teacher is listened to.
        epochs: passes over all examples; 0 trains nothing. ``free`` takes several steps for each batch: fewer will do.
        batch_size: examples a step; batches differ by at most one, so that no norm sees a lonely last example.
        learning_rate: its highest value, at the end of the warm-up.
        seed: of the order, the augmentation and dropout.
        momentum: Nesterov's.
        weight_decay: on matrices and kernels; never on biases and norms, nor on kernels of depthwise convolutions.
        label_smoothing: share of the target given to all classes alike.
        augment: changes each batch.
        teacher: gives soft targets for the batch as augmented; not changed.
        temperature: divides logits of both in the soft loss.
        distillation: weight of the soft loss, the hard one has the rest; without effect when there is no teacher.
        precision: ``bfloat16`` runs forward and backward passes under autocast; weights and steps stay float32.
        clip_norm: bound on the gradient's norm, against the odd bad batch; None for no bound.
        adversarial: attacks that the network is trained against; excludes teacher, smoothing and bfloat16.
        progress: told after every step.

    Raises:
        InputError: empty data, another length of ``y``, NaN or infinities in ``x``, a label without a class, nothing
            to train, or bfloat16 on a processor without it.
        RunFailedError: the loss is not finite any more.
    """
    used = chosen_precision(precision)
    weights = [p for p in module.parameters() if p.requires_grad]
    soft = 0.0 if teacher is None else distillation
    _check(module, x, y, weights, labelled=soft < 1.0)
    attacks = None
    if adversarial is not None:
        if teacher is not None or label_smoothing or used != "float32":
            raise InputError(
                "adversarial training has a loss of its own, in float32",
                where="training on public data",
                mend='leave out teacher and label smoothing, and take precision = "float32"',
            )
        attacks = Attacked(module, adversarial, x, y, epochs=epochs, seed=seed)
    kept = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # Twice to four times quicker on depthwise separable networks than the default layout (measured).
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
            module.train()
            loss = _Loss(module, _Teacher(teacher, x, once=augment is None), soft, temperature, label_smoothing, used)
            result = _descend(
                loss if attacks is None else attacks.loss,
                x,
                y,
                optimizer=_optimizer(module, weights, learning_rate, momentum, weight_decay),
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                augment=augment,
                clip_norm=clip_norm,
                progress=progress,
                replays=(lambda: 1) if attacks is None else (lambda: attacks.replays),
                after_epoch=(lambda _: None) if attacks is None else attacks.after_epoch,
            )
    except BaseException:
        module.load_state_dict(kept)
        raise
    finally:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        module.eval()
    return Trained(result[0], result[1], used, attacks.overfitted if attacks is not None else None)


@torch.no_grad()
def predict(module: nn.Module, x: Float32Array) -> Float32Array:
    """``(n, classes)`` float32 logits of ``(n, c, h, w)`` examples in inference mode; the module's mode is kept."""
    with one_thread(), inference(module):
        parts = [module(_tensor(x[i : i + _EVALUATION_BATCH])).numpy() for i in range(0, len(x), _EVALUATION_BATCH)]
    return np.concatenate(parts)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums are then always taken in the same order. The former number comes back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Teacher:
    """Soft targets: computed once for all examples when they never change, else for each batch."""

    def __init__(self, teacher: nn.Module | None, x: Float32Array, *, once: bool) -> None:
        self._network = self._known = None
        if teacher is not None and once:
            self._known = torch.from_numpy(predict(teacher, x))
        elif teacher is not None:
            self._network = copy.deepcopy(teacher).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, batch: Tensor, rows: npt.NDArray[np.int64]) -> Tensor | None:
        """``(n, classes)`` logits, None where there is no teacher."""
        if self._known is not None:
            return self._known[torch.from_numpy(rows)]
        return None if self._network is None else self._network(batch)


class _Loss:
    """The scalar that a step descends, of one batch."""

    def __init__(
        self,
        student: nn.Module,
        teacher: _Teacher,
        soft: float,
        temperature: float,
        smoothing: float,
        precision: Literal["float32", "bfloat16"],
    ) -> None:
        self._student, self._teacher = student, teacher
        self._soft, self._temperature, self._smoothing = soft, temperature, smoothing
        self._half = precision == "bfloat16"

    def __call__(self, x: Tensor, y: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            logits = self._student(x)
        logits = logits.float()
        told = self._teacher(x, rows)
        if told is None:
            return self._hard(logits, y)
        targets = functional.log_softmax(told / self._temperature, 1)
        own = functional.log_softmax(logits / self._temperature, 1)
        # T² keeps the soft gradient's size when T changes (Hinton et al., section 2).
        gap = functional.kl_div(own, targets, reduction="batchmean", log_target=True) * self._temperature**2
        if self._soft == 1.0:
            return gap
        return self._soft * gap + (1 - self._soft) * self._hard(logits, y)

    def _hard(self, logits: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(logits, y, label_smoothing=self._smoothing)


def _descend(
    loss: Callable[[Tensor, Tensor, npt.NDArray[np.int64]], Tensor],
    x: Float32Array,
    y: npt.NDArray[np.int64],
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    seed: int,
    augment: Augment | None,
    clip_norm: float | None,
    progress: Callable[[TrainingProgress], None],
    replays: Callable[[], int],
    after_epoch: Callable[[int], None],
) -> tuple[float, int]:
    order, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    batches = math.ceil(len(x) / batch_size)
    planned = replays()  # there may be fewer later: then each step counts for several, and the rate falls as before
    total, place, done, recent, mean = epochs * batches * planned, 0, 0, math.nan, math.nan
    peak = [group["lr"] for group in optimizer.param_groups]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for epoch in range(epochs):
        seen, times = 0.0, replays()
        for rows in np.array_split(order.permutation(len(x)), batches):
            batch, labels = _tensor(x[rows]), torch.from_numpy(y[rows])
            if augment is not None:
                batch = augment(batch, noise).contiguous(memory_format=torch.channels_last)
            for _ in range(times):
                for group, rate in zip(optimizer.param_groups, peak, strict=True):
                    group["lr"] = rate * _cosine(place, total)
                optimizer.zero_grad()
                value = loss(batch, labels, rows)
                number = float(value.detach())
                if not math.isfinite(number):
                    raise RunFailedError(
                        f"training diverged in step {place + 1} of {total} (epoch {epoch + 1})",
                        where="training on public data",
                        mend="take a smaller learning rate",
                    )
                value.backward()  # type: ignore[no-untyped-call]
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, clip_norm)
                optimizer.step()
                done, place = done + 1, place + planned // times
                seen += number * len(rows)
                recent = number if math.isnan(recent) else 0.9 * recent + 0.1 * number
                progress(TrainingProgress(place, total, recent))
        mean = seen / (len(x) * times)
        after_epoch(epoch + 1)
    return mean, done


def _cosine(done: int, total: int) -> float:
    """Factor on the learning rate: up in a line, then down half a cosine to nothing."""
    warm = max(1, round(total * _WARM_UP))
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, total - warm)))


def _optimizer(
    module: nn.Module, weights: list[nn.Parameter], rate: float, momentum: float, decay: float
) -> torch.optim.Optimizer:
    depthwise = {
        id(m.weight) for m in module.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.weight.shape[1] == 1
    }
    plain = [p for p in weights if p.ndim < 2 or id(p) in depthwise]
    decayed = [p for p in weights if not (p.ndim < 2 or id(p) in depthwise)]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [g for g in groups if g["params"]], lr=rate, momentum=momentum, nesterov=momentum > 0, foreach=True
    )


def _check(
    module: nn.Module, x: Float32Array, y: npt.NDArray[np.int64], weights: list[nn.Parameter], *, labelled: bool
) -> None:
    where = "training on public data"
    if not weights:
        raise InputError("the network has nothing to train", where=where, mend="let some parameters require gradients")
    if len(x) == 0:
        raise InputError("there are no examples to train on", where=where, mend="take a task with public data")
    if len(x) != len(y):
        raise InputError(f"{len(x)} examples have {len(y)} labels", where=where)
    # A sum is finite when all its terms are, and needs no mask as large as the data.
    broken = [i for i in range(0, len(x), 1024) if not math.isfinite(float(np.abs(x[i : i + 1024]).sum()))]
    if broken:
        part = x[broken[0] : broken[0] + 1024]
        row = broken[0] + int(np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(1))[0])
        raise InputError(
            "the examples hold numbers that are not finite",
            where=f"{where}, example {row}",
            mend="mend or leave out that example",
        )
    try:
        classes = predict(module, x[:1]).shape[1]
    except RuntimeError as error:
        raise InputError(
            f"the network does not take examples of shape {x.shape[1:]}", where=where, mend="check the input size"
        ) from error
    if int(y.max()) >= classes:
        raise InputError(f"label {int(y.max())} is none of the network's {classes} classes", where=where)
    if labelled and int(y.min()) < 0:
        raise InputError(
            "some public examples have no label",
            where=where,
            mend="name labelled public data (task.public), or learn from a teacher alone (distillation = 1)",
        )


def _tensor(x: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, np.float32)).contiguous(memory_format=torch.channels_last)
