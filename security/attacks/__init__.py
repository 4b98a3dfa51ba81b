"""Attacks, for simulation and measurement only: what hostile devices send, one published attack a file.

In a federation an attack lives on the simulated device: it turns the delta that the device honestly computed (noise
included) into what the device sends. The server's rounds never learn who is hostile; that the screen finds out
is what a simulation measures. Only the set-up of simulated devices may ask :func:`attack_for` and
:func:`compromised`. The attack lab gives hostile devices more :class:`Knowledge`: all honest rows, and the rule.
"""

from skerry.security.attacks.adaptive import Adaptive
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.attacks.broken import Infinite, NotANumber
from skerry.security.attacks.camouflaged import Blended, Camouflaged
from skerry.security.attacks.clones import Clones
from skerry.security.attacks.disguised import Disguised
from skerry.security.attacks.farthest import MinMax, MinSum
from skerry.security.attacks.hostile import POISONS, attack_for, compromised
from skerry.security.attacks.idle import FreeRider, Replay
from skerry.security.attacks.inner_product import InnerProduct
from skerry.security.attacks.lengthened import Lengthened
from skerry.security.attacks.little import LittleIsEnough
from skerry.security.attacks.mimic import Mimic
from skerry.security.attacks.named import ATTACKS, attack_named
from skerry.security.attacks.neurotoxin import Neurotoxin
from skerry.security.attacks.noise import GaussianNoise, RandomDirection
from skerry.security.attacks.poison import flip_labels
from skerry.security.attacks.scaling import Scaling, SignFlip
from skerry.security.attacks.trigger import Trigger

__all__ = [
    "ATTACKS",
    "POISONS",
    "Adaptive",
    "Attack",
    "Blended",
    "Camouflaged",
    "Clones",
    "Disguised",
    "FreeRider",
    "GaussianNoise",
    "Infinite",
    "InnerProduct",
    "Knowledge",
    "Lengthened",
    "LittleIsEnough",
    "Mimic",
    "MinMax",
    "MinSum",
    "Neurotoxin",
    "NotANumber",
    "RandomDirection",
    "Replay",
    "Scaling",
    "SignFlip",
    "Trigger",
    "attack_for",
    "attack_named",
    "compromised",
    "flip_labels",
]
