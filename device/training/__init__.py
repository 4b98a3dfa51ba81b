"""Training on a device: what one round asks for, private gradient sums, and the linear head."""

from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan

__all__ = ["Grid", "HeadTrainer", "TrainPlan"]
