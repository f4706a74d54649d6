"""Recipes as flat YAML files, found by name."""

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where they are, in a checkout as in an installation."""


def names() -> list[str]:
    """Of all configs, without suffix."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find(word: str | Path) -> Path:
    """The file that a person means by a path or a name.

    Args:
        word: A path, which counts where a file is there; otherwise its last part, with or without
            .yaml, is the name of one of ours.

    Raises:
        FileNotFoundError: There is no such file, and none of ours has such a name.
    """
    path = Path(word)
    if path.exists() and not path.is_dir():
        return path
    name = path.name.removesuffix(".yaml")
    if name in names():
        return FOLDER / f"{name}.yaml"
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    cure = f"the nearest name is {near[0]!r}" if near else f"its names are {', '.join(names())}"
    raise FileNotFoundError(f"no config {word}: give a file, or a name from {FOLDER}; {cure}")
