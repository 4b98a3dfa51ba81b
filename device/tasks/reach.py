"""How far an attacker may move a task's examples, in the units of its users."""

from typing import Protocol, runtime_checkable

from skerry.device.tasks.task import Task
from skerry.security.adversarial import Ball, Norm

__all__ = ["Ranged", "attack_ball"]


@runtime_checkable
class Ranged(Protocol):
    """A task whose network input has a least and a largest value: pictures, from black to white."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Both ends, after :meth:`~skerry.device.tasks.task.Task.transform`."""
        ...


def attack_ball(task: Task, epsilon: float, norm: Norm = "linf") -> Ball:
    """The ball in units of the network's input, of a radius in shares of the way from the least value to the largest.

    Of a task without a range, as windows are, the radius is in the units of the input itself: standard deviations,
    where readings are standardised. There is no bound on values then.
    """
    if not isinstance(task, Ranged):
        return Ball(epsilon, norm)
    low, high = task.value_range
    return Ball(epsilon * (high - low), norm, low, high)
