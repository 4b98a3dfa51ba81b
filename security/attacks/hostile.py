"""Which simulated devices are hostile, and what they do: a scenario's ``[attack]``."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from skerry.canonical import encode
from skerry.config import AttackConfig
from skerry.errors import ScenarioError
from skerry.security.attacks.attack import Attack
from skerry.security.attacks.broken import Infinite, NotANumber
from skerry.security.attacks.clones import Clones
from skerry.security.attacks.noise import GaussianNoise, RandomDirection
from skerry.security.attacks.scaling import Scaling, SignFlip

__all__ = ["POISONS", "attack_for", "compromised"]

POISONS = ("label_flip", "backdoor")
"""Kinds of a scenario that change what hostile devices train on; they send what comes of it."""

_KINDS: Mapping[str, Callable[[float], Attack]] = MappingProxyType(
    {
        "sign_flip": SignFlip,
        "scaling": Scaling,
        "nan": lambda _: NotANumber(),
        "inf": lambda _: Infinite(),
        "random": RandomDirection,
        "gaussian": GaussianNoise,
        "clones": Clones,
    }
)


def attack_for(config: AttackConfig) -> Attack | None:
    """What hostile devices of a scenario make of their update; None where they send it as it is."""
    return None if config.kind in {"none", *POISONS} else _KINDS[config.kind](config.scale)


def compromised(devices: Sequence[str], config: AttackConfig, seed: int) -> frozenset[str]:
    """Which of the training devices are hostile: the same set for the same seed, in any order of ``devices``.

    The devices with the smallest SHA-256 digests of (seed, name) are taken, so that the choice of k devices
    contains that of k - 1.

    Raises:
        ScenarioError: more hostile devices than there are devices.

    >>> config = AttackConfig(kind="sign_flip", devices=2)
    >>> len(compromised(["a", "b", "c"], config, seed=0))
    2
    """
    if config.kind == "none":
        return frozenset()
    if config.devices > len(devices):
        raise ScenarioError(
            f"{config.devices} devices cannot be hostile, only {len(devices)} train", where="attack.devices"
        )
    ranked = sorted(devices, key=lambda device: hashlib.sha256(encode(["compromised", seed, device])).digest())
    return frozenset(ranked[: config.devices])
