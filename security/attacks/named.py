"""Attacks on a round's rows by the names that a grid of the attack lab uses."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from skerry.errors import InputError
from skerry.security.attacks.adaptive import Adaptive
from skerry.security.attacks.attack import Attack
from skerry.security.attacks.broken import Infinite, NotANumber
from skerry.security.attacks.camouflaged import Blended, Camouflaged
from skerry.security.attacks.clones import Clones
from skerry.security.attacks.disguised import Disguised
from skerry.security.attacks.farthest import MinMax, MinSum
from skerry.security.attacks.idle import FreeRider, Replay
from skerry.security.attacks.inner_product import InnerProduct
from skerry.security.attacks.lengthened import Lengthened
from skerry.security.attacks.little import LittleIsEnough
from skerry.security.attacks.mimic import Mimic
from skerry.security.attacks.noise import GaussianNoise, RandomDirection
from skerry.security.attacks.scaling import Scaling, SignFlip

__all__ = ["ATTACKS", "attack_named"]

ATTACKS: Mapping[str, Callable[[], Attack]] = MappingProxyType(
    {
        "sign_flip": SignFlip,
        "scaling": Scaling,
        "ipm": InnerProduct,
        "alie": LittleIsEnough,
        "min_max": MinMax,
        "min_sum": MinSum,
        "mimic": Mimic,
        "random": RandomDirection,
        "gaussian": lambda: GaussianNoise(10.0),
        "nan": NotANumber,
        "inf": Infinite,
        "clones": Clones,
        "near_clones": lambda: Clones(jitter=0.3),
        "scaled_clones": lambda: Lengthened(Clones()),
        "scaled_ipm": lambda: Lengthened(InnerProduct()),
        "free_rider": FreeRider,
        "replay": Replay,
        "near_ipm": lambda: Disguised(InnerProduct()),
        "near_alie": lambda: Disguised(LittleIsEnough()),
        "adaptive": lambda: Disguised(Adaptive()),
        "own_ipm": lambda: Camouflaged(InnerProduct()),
        "blended_ipm": lambda: Blended(InnerProduct()),
    }
)
"""Attacks at the strength at which the lab tries them."""


def attack_named(name: str) -> Attack:
    """The attack of this name, at the strength of :data:`ATTACKS`.

    Raises:
        InputError: unknown name; says the near match.

    >>> attack_named("ipm")
    InnerProduct(scale=2.0)
    """
    if name not in ATTACKS:
        near = difflib.get_close_matches(name, ATTACKS, n=1)
        raise InputError(
            f"unknown attack {name!r}", mend=f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(ATTACKS)}"
        )
    return ATTACKS[name]()
