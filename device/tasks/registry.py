"""Finding a task: by its entry point in the group ``skerry.tasks``, or by ``"package.module:Class"``."""

import difflib
import importlib
from importlib.metadata import entry_points

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.task import Task
from skerry.errors import ScenarioError

__all__ = ["GROUP", "load_task", "task_names"]

GROUP = "skerry.tasks"


def task_names() -> tuple[str, ...]:
    """Names of the installed tasks, sorted."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_task(task: TaskConfig, model: ModelConfig) -> Task:
    """The task that a scenario names, made from its ``[task]`` and ``[model]`` sections.

    Raises:
        ScenarioError: there is no such task; names the near match.
        TaskError: its data cannot be used.
        MissingDependencyError: a package that it needs is not installed.
    """
    made: Task = _task_class(task.name)(task, model)
    return made


def _task_class(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - whatever the entry point names
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ScenarioError(f"the task {name!r} cannot be imported: {error}", where="task.name") from error
    found = entry_points(group=GROUP, name=name)
    if not found:
        near = difflib.get_close_matches(name, task_names(), n=1, cutoff=0.4)
        raise ScenarioError(
            f"there is no task {name!r}",
            where="task.name",
            mend=f"did you mean {near[0]!r}?" if near else f"installed are: {', '.join(task_names())}",
        )
    return next(iter(found)).load()
