"""Settings and classes that had another name before: old configs and old flags go on working.

Each old name is told once, on stderr, with the new one.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import get_loader, set_loader
from lightning.pytorch.utilities import rank_zero_only
from yaml import YAMLError

PARSER_MODE = "yaml_with_old_names"
"""Of jsonargparse: YAML in which old names stand for the new ones."""

DATA_SETTINGS = {
    "longest": "max_side",
    "val_longest": "val_max_side",
    "least_visible": "min_visibility",
}
"""Old -> new, of the classes of data."""

MODULES = {
    "dff.lit.datamodules": "dff.lit.datamodules.datasets",
    "dff.lit.pair_data": "dff.lit.datamodules.pair_data",
    "dff.lit.flow_data": "dff.lit.datamodules.flow_data",
    "dff.lit.wandb_logger": "dff.lit.loggers.wandb_logger",
    "dff.lit.metrics_file": "dff.lit.loggers.metrics_file",
    "dff.lit.panels": "dff.lit.visualization.panels",
    "dff.lit.predictor": "dff.lit.evaluation.predictor",
    "dff.lit.flow_quality": "dff.lit.evaluation.flow_quality",
}
"""Old -> new, of the modules whose classes a config names."""

_DATA_FLAG = re.compile(rf"(--(?:\w+\.)*data\.(?:init_args\.)?)({'|'.join(DATA_SETTINGS)})(=.*)?")
_CLASS = re.compile(rf"({'|'.join(map(re.escape, MODULES))})\.([A-Z]\w*)")
_told: set[str] = set()


def renamed_words(words: Sequence[Any]) -> list[Any]:
    """A command line in which old names are replaced by the new ones."""
    return [_renamed_word(word) if isinstance(word, str) else word for word in words]


def _renamed_word(word: str) -> str:
    if match := _DATA_FLAG.fullmatch(word):
        flag, old, value = match.groups(default="")
        _tell(f"--data.{old}", f"--data.{DATA_SETTINGS[old]}")
        return f"{flag}{DATA_SETTINGS[old]}{value}"
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{_renamed_class(value)}"


def renamed(settings: Any, of_data: bool = False) -> Any:
    """Settings in which old names are replaced by the new ones, at any depth.

    Args:
        settings: Of a config file, or of a part of it.
        of_data: Whether they are those of a class of data.
    """
    if isinstance(settings, list):
        return [renamed(value, of_data) for value in settings]
    if not isinstance(settings, dict):
        return _renamed_class(settings) if isinstance(settings, str) else settings
    result = {}
    for key, value in settings.items():
        if of_data and key in DATA_SETTINGS:
            _tell(key, DATA_SETTINGS[key])
            key = DATA_SETTINGS[key]
        result[key] = renamed(value, of_data or key == "data")
    return result


def _renamed_class(path: str) -> str:
    match = _CLASS.fullmatch(path)
    if match is None:
        return path
    new = f"{MODULES[match[1]]}.{match[2]}"
    _tell(path, new)
    return new


def _tell(old: str, new: str) -> None:
    if old not in _told:
        _told.add(old)
        say(f"{old} is called {new} now; the old name is understood, too")


@rank_zero_only
def say(words: str) -> None:
    """Tells people something that is no result, from one process of a run."""
    print(words, file=sys.stderr, flush=True)


def _load(text: str) -> Any:
    settings = get_loader("yaml")(text)
    # a class by itself, with its settings, is what `--data FILE` or `--data '{...}'` names
    return renamed(settings, isinstance(settings, dict) and "class_path" in settings)


set_loader(PARSER_MODE, _load, (YAMLError,))
