"""From a wish (how many devices and examples, which ε, how many rounds) to noise multipliers, side by side."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from skerry.errors import InputError
from skerry.security.privacy.accounting import (
    FixedSizeEvent,
    GaussianEvent,
    Guarantee,
    calibrate,
    check_delta,
    compose,
    epsilon_from_rdp,
    epsilon_pld,
    rdp_fixed_size,
)
from skerry.security.privacy.factorisation import Strategy, banded

__all__ = ["Option", "Wish", "options"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be planned.

    Attributes:
        unit: what is protected.
        devices: how many there are.
        examples: on a device.
        epsilon: the budget of the whole run.
        delta: its δ.
        rounds: of the run.
        participation: share of the devices that take part in a round.
        steps: unit ``example``: passes of a device over its examples in a round, each a noisy step.
        replays: unit ``example``: noisy steps in a row that each pass takes (adversarial training ``free``: several).
        force: let δ be 1/n or more.

    Raises:
        InputError: a number is out of range.
        RefusedError: δ is 1/n or more, n the number of units (``delta_too_large``), and is not forced.
    """

    unit: Literal["example", "device"]
    devices: int
    examples: int
    epsilon: float
    delta: float
    rounds: int
    participation: float
    steps: int = 1
    replays: int = 1
    force: bool = False

    def __post_init__(self) -> None:
        for name in ("devices", "examples", "rounds", "steps", "replays"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.epsilon > 0 and math.isfinite(self.epsilon)):
            raise InputError(f"a budget ε must be positive and finite, got {self.epsilon}")
        if not 0 < self.participation <= 1:
            raise InputError(
                f"participation is a share of the devices, above 0 and at most 1, got {self.participation}",
                mend="0.1 means that a tenth of the devices takes part in a round",
            )
        check_delta(self.delta, self.devices if self.unit == "device" else self.examples, force=self.force)
        if self.cohort < 1:
            raise InputError(
                f"of {self.devices} devices a share of {self.participation:g} is less than one a round",
                mend=f"use a participation of at least {1 / self.devices:.2g}",
            )

    @property
    def cohort(self) -> int:
        """Devices expected in a round."""
        return round(self.devices * self.participation)

    @property
    def releases(self) -> int:
        """Unit ``example``: noisy steps of a device in a round, each of which is paid."""
        return self.steps * self.replays

    @property
    def separation(self) -> int:
        """Rounds from one turn of a device to its next, when devices take part in turns."""
        return max(1, math.ceil(1 / self.participation - 1e-9))


@dataclass(frozen=True)
class Option:
    """One way to keep the budget.

    Attributes:
        name: of the way.
        words: what it is, in a sentence.
        noise_multiplier: σ of a round, or of the whole run where noise is correlated.
        cohort: devices expected in a round.
        guarantees: what holds, the first one for what the ledger accounts.
        round_noise: standard deviation of a round's noise in the mean, in clips, per coordinate.
        model_noise: the same of the sum over all rounds: what noise is left in the model at a learning rate of 1.
        settings: keys of a scenario; empty where none offers it.
    """

    name: str
    words: str
    noise_multiplier: float
    cohort: int
    guarantees: tuple[Guarantee, ...]
    round_noise: float
    model_noise: float
    settings: Mapping[str, str | float | int]

    @staticmethod
    def strategy(wish: Wish) -> Strategy:
        """The correlation of the way ``in_turns``."""
        return banded(wish.rounds, wish.separation)


def options(wish: Wish) -> list[Option]:
    """All ways that are known for the unit, the one to take first.

    Those that ask as many devices as is wished come first, the least noise in the model at their head; then, for
    comparison, everybody in every round, and cohorts of fixed size, which no ledger accounts.

    Raises:
        InputError: no noise keeps the budget.
        MissingDependencyError: scipy or dp-accounting is not installed.
    """
    if wish.unit == "example":
        return [_on_devices(wish)]
    if wish.participation == 1:
        return [_everybody(wish)]
    first = sorted((_drawn(wish), _in_turns(wish)), key=lambda option: option.model_noise)
    return [*first, _everybody(wish), _fixed(wish)]


def _on_devices(wish: Wish) -> Option:
    turns = math.ceil(wish.rounds / wish.separation)
    sigma = calibrate(wish.epsilon, wish.delta, turns * wish.releases)
    noise = sigma * math.sqrt(wish.releases) / (wish.examples * math.sqrt(wish.cohort))
    return Option(
        "on_device",
        f"each device adds noise to its own gradients, in each of the {turns} rounds that it takes part in",
        sigma,
        wish.cohort,
        _both(
            wish,
            [GaussianEvent(sigma, 1.0, turns * wish.releases)],
            "no sampling: every step uses all examples of a device",
        ),
        noise,
        noise * math.sqrt(wish.rounds),
        {
            "privacy.unit": "example",
            "privacy.epsilon": wish.epsilon,
            "privacy.delta": wish.delta,
            "privacy.denominator": wish.examples,
            "privacy.sampling_rate": 1.0,
            "privacy.min_separation": wish.separation,
            "training.epochs": wish.steps,
            "rounds": wish.rounds,
        },
    )


def _drawn(wish: Wish) -> Option:
    sigma = calibrate(wish.epsilon, wish.delta, wish.rounds, wish.participation)
    secret = _both(
        wish,
        [GaussianEvent(sigma, wish.participation, wish.rounds)],
        f"Poisson: each device with probability {wish.participation:g} a round, and nobody knows who was drawn",
    )
    watched = _both(
        wish,
        [GaussianEvent(sigma, 1.0, wish.rounds)],
        "for whoever knows who takes part, such as the carrier of the messages: no sampling",
    )
    noise = sigma / (wish.devices * wish.participation)
    drawn: dict[str, str | float | int] = {"cohort.sampling": "poisson", "cohort.rate": wish.participation}
    return Option(
        "drawn",
        "the coordinator draws each device by itself and adds independent noise to the sum (DP-FedAvg)",
        sigma,
        wish.cohort,
        (*secret, *watched),
        noise,
        noise * math.sqrt(wish.rounds),
        _central(wish, wish.cohort) | drawn,
    )


def _everybody(wish: Wish) -> Option:
    sigma = calibrate(wish.epsilon, wish.delta, wish.rounds)
    noise = sigma / wish.devices
    return Option(
        "everybody",
        "every device takes part in every round; independent noise",
        sigma,
        wish.devices,
        _both(wish, [GaussianEvent(sigma, 1.0, wish.rounds)], "none: every device in every round"),
        noise,
        noise * math.sqrt(wish.rounds),
        _central(wish, wish.devices) | {"cohort.sampling": "all"},
    )


def _in_turns(wish: Wish) -> Option:
    sigma = calibrate(wish.epsilon, wish.delta, 1)
    strategy = Option.strategy(wish)
    cohort = max(1, wish.devices // wish.separation)
    scale = sigma * math.sqrt(strategy.sensitivity2) / cohort
    return Option(
        "in_turns",
        f"devices take part in turns, each in one of any {wish.separation} rounds; noise is correlated over rounds"
        f" (DP-FTRL, {strategy.gain:.2f} times less error than independent noise in turns)",
        sigma,
        cohort,
        _both(wish, [GaussianEvent(sigma)], f"none: minimum separation of {wish.separation} rounds"),
        float(scale * strategy.round_noise[-1]),
        float(scale * strategy.running_noise[-1]),
        _central(wish, cohort)
        | {
            "cohort.sampling": "all",
            "privacy.mechanism": "matrix_factorization",
            "privacy.min_separation": wish.separation,
        },
    )


def _fixed(wish: Wish) -> Option:
    """What the noise of :func:`_drawn` would be worth with a cohort of fixed size: under exchange, half the σ."""
    sigma = calibrate(wish.epsilon, wish.delta, wish.rounds, wish.participation)
    event = FixedSizeEvent(sigma / 2, wish.devices, wish.cohort, wish.rounds)
    noise = sigma / wish.cohort
    figure = Guarantee(
        epsilon=epsilon_from_rdp(rdp_fixed_size(event), wish.delta)[0],
        delta=wish.delta,
        unit=wish.unit,
        relation="replace-one",
        sampling=f"{wish.cohort} of {wish.devices} devices a round, drawn uniformly in secret",
        accountant="RDP",
    )
    words = "the noise of `drawn`, with cohorts of fixed size; for comparison, ledgers do not account by exchange"
    return Option("fixed_size", words, sigma, wish.cohort, (figure,), noise, noise * math.sqrt(wish.rounds), {})


def _central(wish: Wish, cohort: int) -> dict[str, str | float | int]:
    return {
        "privacy.unit": "device",
        "privacy.epsilon": wish.epsilon,
        "privacy.delta": wish.delta,
        "privacy.denominator": cohort,
        "defence.aggregator": "mean",
        "defence.tolerate": 0,
        "rounds": wish.rounds,
    }


def _both(wish: Wish, events: list[GaussianEvent], sampling: str) -> tuple[Guarantee, ...]:
    by_rdp = epsilon_from_rdp(compose(events), wish.delta)[0]
    by_pld = epsilon_pld(events, wish.delta)
    return tuple(
        Guarantee(
            epsilon=epsilon,
            delta=wish.delta,
            unit=wish.unit,
            relation="add/remove",
            sampling=sampling,
            accountant=accountant,
        )
        for accountant, epsilon in (("RDP", by_rdp), ("PLD", by_pld))
    )
