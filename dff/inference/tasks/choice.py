"""Which tasks a model has, by its settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from dff.inference.tasks.detection import Detection
from dff.inference.tasks.segmentation import Segmentation
from dff.models.contracts import Task

DEFAULT = {Segmentation.name: 1.0}
"""Heads and weights of their losses, where the settings name none."""
NAMES = (Segmentation.name, Detection.name)
"""Of the tasks that need nothing but their name."""


def tasks_of(settings: Mapping[str, Any], own: Sequence[Task] = ()) -> dict[str, Task]:
    """The tasks of a model's heads, each by its name.

    Args:
        settings: Of `LitDFF`, as a checkpoint has them: `heads`, and `num_classes`,
            `num_box_classes`, `detection`, `box_metric`, which have defaults.
        own: Tasks of your own, which `heads` may name beside the two.

    Raises:
        ValueError: There is no task of such a name.
    """
    heads = settings.get("heads") or DEFAULT
    known: dict[str, Task] = {
        task.name: task
        for task in (
            Segmentation(settings.get("num_classes", 19)),
            Detection(
                settings.get("num_box_classes", 30),
                settings.get("detection"),
                settings.get("box_metric", "vid"),
            ),
            *own,
        )
    }
    if unknown := heads.keys() - known.keys():
        raise ValueError(
            f"heads {list(heads)}: wanted one or more of {', '.join(known)}; {unknown.pop()} would "
            "be a task of your own, which LitDFF.make_tasks adds"
        )
    return {name: task for name, task in known.items() if name in heads}
