"""Which devices an operator means: a small language of conditions on what is known of a device.

``class == 'pi' and tag('site') == 'north' and epsilon_left >= 1 and not battery < 'half'``

A condition is read once into a tree (:func:`parse_where`) and nothing of it is ever executed as code. What it may name
is a fixed list (:data:`FACTS`). What is not known of a device satisfies nothing.
"""

from skerry.where.facts import FACTS, LEVELS, DeviceFacts, Fact, Kind, Source
from skerry.where.parse import parse_where
from skerry.where.tree import Where

__all__ = ["FACTS", "LEVELS", "DeviceFacts", "Fact", "Kind", "Source", "Where", "parse_where"]
