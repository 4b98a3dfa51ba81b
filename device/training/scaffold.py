"""SCAFFOLD: what pulls a device towards its own data is measured, and taken out of its steps.

Karimireddy et al. 2020 (arXiv:1910.06378), algorithm 1, option II. Device i keeps a control variate ``c_i``, the mean
gradient that it last saw; the server sends ``c``, the mean over all devices. From ``x`` the device takes K steps
``y ← y − η·(g_i(y) + c − c_i)`` and keeps ``c_i⁺ = c_i − c + (x − y) / (K·η)``.

The paper sends two vectors, ``Δy = y − x`` and ``Δc = c_i⁺ − c_i``. With option II the second is a function of the
first, ``Δc = −c − Δy / (K·η)``, wherever K and η are known to the server. So only Δy is sent, and the server computes
the rest: half the bytes, nothing else that leaves the device, and no second vector that could be forged by itself.
Since c_i then is a function of what was sent, to correct by it is post-processing: it costs no privacy.

Assumption: every device takes the same K steps, without momentum; else ``(x − y) / (K·η)`` is no mean gradient.
"""

import numpy as np

from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["check_scaffold", "correction", "next_variate", "variate_change"]


def check_scaffold(plan: TrainPlan) -> None:
    """Refuse a plan whose updates do not tell a mean gradient.

    Raises:
        InputError: it has momentum, another pull, attacks, or a number of steps that depends on the data; or it is
            under unit ``device``, where what the server hears is not what the device keeps.
    """
    plain = (plan.momentum, plan.proximal, plan.batch_size, plan.adversarial) == (0, 0, 0, "none")
    if not plain or plan.unit == "device":
        raise InputError(
            "SCAFFOLD takes plain steps, as many on each device",
            mend='momentum = proximal = batch_size = 0, adversarial = "none", and a unit other than "device"',
        )


def correction(own: Float32Array, common: Float32Array) -> Float32Array:
    """``c − c_i``, ``(d,)``: added to each gradient."""
    return common - own


def next_variate(own: Float32Array, common: Float32Array, delta: Float32Array, plan: TrainPlan) -> Float32Array:
    """``c_i⁺`` of a device, ``(d,)``, from what it sends.

    Args:
        own: ``(d,)`` c_i that the steps were corrected by.
        common: ``(d,)`` c of the same round.
        delta: ``(d,)`` Δy, as it is sent.
        plan: of the round.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return (own + variate_change(common, delta, plan)).astype(np.float32)


def variate_change(common: Float32Array, delta: Float32Array, plan: TrainPlan) -> Float32Array:
    """``c_i⁺ − c_i = −c − Δy / (K·η)``, ``(d,)``: of a device by its update, or the mean over devices by the mean.

    Raises:
        InputError: see :func:`check_scaffold`.
    """
    check_scaffold(plan)
    steps = plan.steps if plan.unit == "example" else plan.epochs
    wide = -common.astype(np.float64) - delta.astype(np.float64) / (steps * plan.learning_rate)
    with np.errstate(over="ignore"):
        return wide.astype(np.float32)
