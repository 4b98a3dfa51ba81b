"""Virtual time: a fleet of thousands of phones of which only the clock is made up.

1. ``profile``       which kinds of phones there are: speed, network, charging, what interrupts them
2. ``phones``        a fleet drawn from a profile: who is ready at an instant, and how an attempt to train goes
3. ``schedule``      who was asked, who answered, when: under rounds, or under a buffer
4. ``learning``      real training of those who took part, many phones at once
5. ``figures``       how long a round takes, who is left out, energy and bytes

Everything is deterministic from a seed. A schedule does not depend on what phones learn, so it can be made without
training, and what is trained over it can be compared with another schedule.
"""

from skerry.server.engines.virtual.clock import EventQueue
from skerry.server.engines.virtual.figures import ClassFigures, PolicyFigures, figures_of
from skerry.server.engines.virtual.learning import Learning, Point, learn
from skerry.server.engines.virtual.phone_data import PhoneData, fashion_phones, synthetic_phones
from skerry.server.engines.virtual.phones import Attempts, Fleet, Work, draw_fleet
from skerry.server.engines.virtual.profile import PHONES, FleetProfile, PhoneClass, load_profile
from skerry.server.engines.virtual.schedule import (
    Buffer,
    Rounds,
    Step,
    buffered_steps,
    policy_steps,
    synchronous_steps,
)

__all__ = [
    "PHONES",
    "Attempts",
    "Buffer",
    "ClassFigures",
    "EventQueue",
    "Fleet",
    "FleetProfile",
    "Learning",
    "PhoneClass",
    "PhoneData",
    "Point",
    "PolicyFigures",
    "Rounds",
    "Step",
    "Work",
    "buffered_steps",
    "draw_fleet",
    "fashion_phones",
    "figures_of",
    "learn",
    "load_profile",
    "policy_steps",
    "synchronous_steps",
    "synthetic_phones",
]
