"""Attacks of the lab on the data of hostile devices, which then train on them."""

import numpy as np

from skerry.security.attacks import Attack, Neurotoxin, Trigger, attack_named, flip_labels
from skerry.server.lab.mnist1d import CLASSES, LENGTH, Examples

__all__ = ["BACKDOORS", "POISONS", "attack_on_rows", "poisoned", "trigger_of"]

BACKDOORS = ("backdoor", "dba", "neurotoxin")
"""One trigger on all hostile devices; a part of it on each; the first, kept where honest devices hardly train."""

POISONS = ("label_flip", *BACKDOORS)
"""What is done to the data of hostile devices; all other attacks are of :mod:`skerry.security.attacks`."""

_SHARE = 0.5  # of a hostile device's examples that carry the trigger


def trigger_of(target: int) -> Trigger:
    """The last three numbers of an example, at three standard deviations of the features; calls up ``target``."""
    return Trigger(target=target, places=tuple(range(LENGTH - 3, LENGTH)), value=3.0)


def poisoned(kind: str, data: Examples, number: int, hostile: int, target: int = 0) -> Examples:
    """What hostile device ``number`` (from 0) of ``hostile`` trains on; the data themselves for other attacks."""
    if kind == "label_flip":
        return Examples(data.features, flip_labels(data.labels, CLASSES))
    if kind not in BACKDOORS:
        return data
    whole = trigger_of(target)
    trigger = whole.parts(hostile)[number] if kind == "dba" else whole
    generator = np.random.default_rng(number)
    return Examples(*trigger.planted(data.features, data.labels, share=_SHARE, generator=generator))


def attack_on_rows(kind: str) -> Attack | None:
    """What hostile devices make of their rows after training; None when they send them as they are.

    Raises:
        InputError: unknown attack.
    """
    if kind == "neurotoxin":
        return Neurotoxin()
    return None if kind in {"none", *POISONS} else attack_named(kind)
