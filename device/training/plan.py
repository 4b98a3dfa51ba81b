"""What a device is asked to do in one round."""

from dataclasses import dataclass, replace
from typing import Literal

from skerry.errors import InputError
from skerry.security.adversarial import Norm, replays
from skerry.security.privacy.accounting import GaussianEvent

__all__ = ["MOST_EPOCHS", "MOST_VIEWS", "TrainPlan", "device_promise", "private_steps"]

MOST_VIEWS = 16
"""Of one example: a server must not make a device compute without end."""
MOST_EPOCHS = 100
"""Of a round, as in a scenario: much noise makes steps cheap in ε, and the budget alone would not end a round."""
_LARGEST = 1e12  # of any number here; accountants and grids square some of them
_LEAST_RATE = 1e-4


def private_steps(epochs: int, sampling_rate: float, adversarial: str = "none") -> int:
    """Releases of a round under unit ``example``: ``round(1 / rate)`` for each epoch, and as often as that is replayed.

    What is promised, debited and done counts by this one function.
    """
    return epochs * round(1 / sampling_rate) * replays(adversarial)


def device_promise(rounds: int, separation: int) -> str:
    """What correlated or independent noise under unit ``device`` is for, as each device's debit says it.

    Args:
        rounds: of the run.
        separation: rounds from one participation of a device to its next that the noise counts on; 0: on none.
    """
    return f"{rounds} rounds, {separation} apart"


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """One round of local training. It comes from a server, so it is checked here and its price is computed here.

    Attributes:
        epochs: passes over the local data; under unit ``example`` each is :attr:`steps` / epochs releases. A pass of
            ``adversarial`` training ``free`` learns from each batch :attr:`replays` times.
        learning_rate: step size on the averaged gradient.
        batch_size: examples per step; 0 is all of them, the only value under unit ``example``.
        momentum: share of the last step that is kept; starts anew each round.
        proximal: μ of FedProx: pulls towards the vector that the round started from.
        gradient_clip: L2 bound on a step's mean gradient, against the odd bad batch; 0 for none. Unit ``none`` only.
        augment: small changes of each example each time it is seen.
        adversarial: which attacks each example is moved by before it is learned from (``training.adversarial``).
        adversarial_epsilon: how far, as :func:`~skerry.device.tasks.reach.attack_ball` takes it; 0 without attacks.
        adversarial_norm: in which norm.
        views: how many views of each example its gradient is the mean of, before it is clipped; 1 is itself alone.
        unit: ``example``: each example's gradient is clipped and noise is added; ``none``: neither; ``device``: neither
            here, the coordinator clips whole updates and adds noise, and this plan is its signed promise.
        clip: L2 bound C on one example's gradient, in gradient units; on the update under unit ``device``.
        noise_multiplier: σ; the gradient sum gets noise of standard deviation σ·C in each coordinate. Unit ``device``:
            σ of a round, or of the whole run where noise is correlated.
        denominator: public constant by which the noisy sum over all examples is divided; a step that samples divides
            by ``sampling_rate · denominator``. Dividing by the number of examples would tell it (under add/remove it
            is private). Unit ``none`` divides by the true number instead.
        sampling_rate: q, the probability with which each example takes part in a step, by itself (Poisson sampling);
            1 is everybody. Below 1 belongs to unit ``example``.
        rounds: unit ``device``: of the whole run. A device that is not drawn in a round pays for it too, so the first
            participation debits all of them.
        cohort_rate: unit ``device``: probability with which each device is drawn in a round, by itself and in secret.
        separation: unit ``device``: 0 for independent noise; else noise is correlated over rounds, the price is one for
            the whole run, and it rests on the device taking part in at most one of any so many rounds.
        engine: what computes clipped gradients (:mod:`skerry.device.training.per_example`).

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    epochs: int = 1
    learning_rate: float
    batch_size: int = 0
    momentum: float = 0.0
    proximal: float = 0.0
    gradient_clip: float = 0.0
    augment: Literal["none", "shift", "motion"] = "none"
    adversarial: Literal["none", "fgsm_rs", "n_fgsm", "free", "pgd", "trades"] = "none"
    adversarial_epsilon: float = 0.0
    adversarial_norm: Norm = "linf"
    views: int = 1
    unit: Literal["example", "device", "none"]
    clip: float = 1.0
    noise_multiplier: float = 0.0
    denominator: int = 1
    sampling_rate: float = 1.0
    rounds: int = 1
    cohort_rate: float = 1.0
    separation: int = 0
    engine: Literal["skerry", "bookkeeping", "opacus"] = "skerry"

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size, self.denominator, self.views, self.rounds, self.separation)
        numbers = (
            self.learning_rate,
            self.momentum,
            self.proximal,
            self.gradient_clip,
            self.clip,
            self.noise_multiplier,
            self.sampling_rate,
            self.cohort_rate,
            self.adversarial_epsilon,
        )
        if not all(type(v) is int for v in counts) or not all(type(v) in {int, float} for v in numbers):
            raise InputError("a training plan holds whole numbers and numbers")
        if not all(abs(v) <= _LARGEST for v in (*counts, *numbers)):  # NaN compares with nothing
            raise InputError(f"a training plan holds finite numbers, none of them beyond {_LARGEST:g}")
        if self.epochs > MOST_EPOCHS:
            raise InputError(f"a training plan asks for at most {MOST_EPOCHS} epochs, got {self.epochs}")
        if self.epochs < 1 or self.batch_size < 0 or self.denominator < 1:
            raise InputError("a training plan needs epochs ≥ 1, batch_size ≥ 0 and denominator ≥ 1")
        if self.learning_rate <= 0 or not 0 <= self.momentum < 1 or self.proximal < 0:
            raise InputError("a training plan needs learning_rate > 0, 0 ≤ momentum < 1 and proximal ≥ 0")
        if self.unit not in {"example", "device", "none"}:
            raise InputError(f"{self.unit!r} is not a privacy unit", mend='use "example", "device" or "none"')
        self._check_central()
        if self.unit == "example" and (self.clip <= 0 or self.noise_multiplier <= 0 or self.batch_size != 0):
            raise InputError("example-level privacy needs clip > 0, noise_multiplier > 0 and batch_size 0")
        if not _LEAST_RATE <= self.sampling_rate <= 1 or (self.unit != "example" and self.sampling_rate != 1):
            raise InputError(f"a sampling rate lies between {_LEAST_RATE} and 1, and belongs to example-level privacy")
        if self.gradient_clip < 0 or (self.gradient_clip and self.unit == "example"):
            raise InputError("gradient_clip is at least 0, and 0 where each example's gradient is clipped for privacy")
        if self.augment not in {"none", "shift", "motion"}:
            raise InputError(f"{self.augment!r} changes no examples", mend='use "shift", "motion" or "none"')
        self._check_attacks()
        if not 1 <= self.views <= MOST_VIEWS:
            raise InputError(f"a training plan asks for 1 to {MOST_VIEWS} views of each example, got {self.views}")
        if self.engine not in {"skerry", "bookkeeping", "opacus"}:
            raise InputError(
                f"{self.engine!r} is not a clipping engine", mend='use "skerry", "bookkeeping" or "opacus"'
            )

    def _check_attacks(self) -> None:
        if self.adversarial not in {"none", "fgsm_rs", "n_fgsm", "free", "pgd", "trades"} or (
            self.adversarial_norm not in {"linf", "l2"}
        ):
            raise InputError(
                f"{self.adversarial!r} in {self.adversarial_norm!r} is no adversarial training",
                mend='use "fgsm_rs", "n_fgsm", "free", "pgd", "trades" or "none", in "linf" or "l2"',
            )
        if (self.adversarial != "none") != (self.adversarial_epsilon > 0) or self.adversarial_epsilon < 0:
            raise InputError("adversarial training needs a positive radius, and nothing else has one")
        if self.adversarial != "none" and self.views > 1:
            raise InputError("an example that is attacked comes in one view", mend="views = 1")
        if self.adversarial != "none" and self.unit == "example" and self.engine != "skerry":
            raise InputError(
                f"clipping engine {self.engine!r} knows no attacks", mend='use "skerry", or no adversarial training'
            )

    def _check_central(self) -> None:
        if self.unit == "device" and (self.clip <= 0 or self.noise_multiplier <= 0):
            raise InputError("device-level privacy needs clip > 0 and noise_multiplier > 0")
        if self.rounds < 1 or not 0 < self.cohort_rate <= 1 or self.separation < 0:
            raise InputError("a training plan needs rounds ≥ 1, 0 < cohort_rate ≤ 1 and separation ≥ 0")
        if self.separation and self.cohort_rate != 1:
            raise InputError("correlated noise rests on rounds kept apart, and no draw of devices makes it cheaper")

    @property
    def steps(self) -> int:
        """Releases of a round under unit ``example``: see :func:`private_steps`."""
        return private_steps(self.epochs, self.sampling_rate, self.adversarial)

    @property
    def replays(self) -> int:
        """Steps in a row that learn from one batch."""
        return replays(self.adversarial)

    @property
    def event(self) -> GaussianEvent | None:
        """What this plan spends of each unit's privacy; ``None``: it is not protected at all.

        Of an example's, in one round; of a device's, in the whole run.
        """
        if self.unit == "none":
            return None
        if self.unit == "device":
            once = GaussianEvent(float(self.noise_multiplier), float(self.cohort_rate))
            return once if self.separation else replace(once, steps=self.rounds)
        return GaussianEvent(float(self.noise_multiplier), float(self.sampling_rate), self.steps)

    @property
    def promise(self) -> str:
        """Under unit ``device``, what the noise is for that :attr:`event` does not say; empty otherwise."""
        return device_promise(self.rounds, self.separation) if self.unit == "device" else ""
