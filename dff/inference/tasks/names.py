"""Names of classes: numbers, until data or a checkpoint tells them."""

from collections.abc import Sequence
from typing import Any


def numbered(count: int) -> list[str]:
    """A name for each of so many classes whose names are not known."""
    return [f"class {i}" for i in range(count)]


def or_set(setting: str, trains: bool) -> str:
    """Advice to give the model another setting, where it is still to be trained."""
    # A checkpoint's model is what it is: only a training takes settings of the model.
    return f"set --model.{setting}, or " if trains else ""


def checked_names(
    names: Sequence[str], count: int, setting: str, data: Any, trains: bool
) -> list[str]:
    """The names of a data set's classes, for a model of `count` classes.

    Args:
        names: The data's.
        count: The model's.
        setting: Which setting of the model tells its number.
        data: The data module.
        trains: Whether a training begins.

    Raises:
        ValueError: There are more of them, or fewer.
    """
    if len(names) != count:
        raise ValueError(
            f"the model has {count} classes and the data {len(names)} ({type(data).__name__}): "
            f"{or_set(f'{setting} {len(names)}', trains)}"
            "take data of the model's classes with --data"
        )
    return list(names)
