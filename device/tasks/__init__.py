"""Tasks: where data come from. :class:`~skerry.device.tasks.task.Task` is the protocol."""

from skerry.device.tasks.metrics import Quality, evaluate
from skerry.device.tasks.registry import load_task, task_names
from skerry.device.tasks.task import Task

__all__ = ["Quality", "Task", "evaluate", "load_task", "task_names"]
