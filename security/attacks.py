"""Hostile devices, for simulation only.

An attack lives on the simulated device: it turns the delta that the device honestly computed (noise included)
into what the device sends. The server's rounds never learn who is hostile; that the screen finds out is what a
simulation measures. Only the set-up of simulated devices may ask :func:`attack_for` and :func:`compromised`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np

from skerry.canonical import encode
from skerry.config import AttackConfig
from skerry.errors import ScenarioError
from skerry.records import Float32Array
from skerry.security.privacy.stream import RandomStream

__all__ = ["Attack", "NotANumber", "RandomDirection", "SignFlip", "attack_for", "compromised"]


class Attack(Protocol):
    """What a compromised device sends instead of its honest delta."""

    def __call__(self, honest_delta: Float32Array, stream: RandomStream) -> Float32Array:
        """A new ``(d,)`` float32 vector; the honest one is not changed.

        Args:
            honest_delta: ``(d,)`` float32, as the device would have sent it.
            stream: the device's own random bits.
        """


@dataclass(frozen=True)
class SignFlip:
    """Sends ``-scale · delta``: training in reverse, ``scale`` times as hard.

    Reference: Li et al. 2019, "RSA: Byzantine-Robust Stochastic Aggregation Methods" (arXiv:1811.03761), where it
    is one of the attacks tried.
    """

    scale: float = 1.0

    def __call__(self, honest_delta: Float32Array, stream: RandomStream) -> Float32Array:
        """The flipped delta; the stream is not used."""
        del stream
        return (-self.scale * honest_delta).astype(np.float32)


@dataclass(frozen=True)
class NotANumber:
    """Sends NaN in every coordinate: what a broken device does as well as a hostile one."""

    def __call__(self, honest_delta: Float32Array, stream: RandomStream) -> Float32Array:
        """NaN throughout; the stream is not used."""
        del stream
        return np.full_like(honest_delta, np.nan)


@dataclass(frozen=True)
class RandomDirection:
    """Sends a vector of uniformly random direction, ``scale`` times as long as the honest delta."""

    scale: float = 1.0

    def __call__(self, honest_delta: Float32Array, stream: RandomStream) -> Float32Array:
        """A fresh direction on each call."""
        direction = _normal(len(honest_delta), stream)
        length = sqrt(float(np.dot(direction, direction))) or 1.0
        honest = honest_delta.astype(np.float64)
        return (direction * (self.scale * sqrt(float(np.dot(honest, honest))) / length)).astype(np.float32)


def attack_for(config: AttackConfig) -> Attack | None:
    """The attack that a scenario describes, or None for ``kind = "none"``."""
    match config.kind:
        case "none":
            return None
        case "sign_flip":
            return SignFlip(config.scale)
        case "nan":
            return NotANumber()
        case "random":
            return RandomDirection(config.scale)


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


def _normal(n: int, stream: RandomStream) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """``(n,)`` standard normal numbers by Box and Muller, from 53-bit uniforms in (0, 1]."""
    pairs = (n + 1) // 2
    uniform = ((stream.uint64(2 * pairs) >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
