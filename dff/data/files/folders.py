"""Folders that results are to be written to."""

import os
from pathlib import Path


def check_folder(path: str | os.PathLike, flag: str = "--output") -> None:
    """Says before any work that results cannot be written to a folder; nothing is made.

    Args:
        path: The folder, which need not exist.
        flag: What it was given with.

    Raises:
        NotADirectoryError: It is a file, or would lie in one.
        PermissionError: Nothing can be written there.
    """
    place = Path(path)
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        what = "a file" if place.is_file() else "no folder"
        raise NotADirectoryError(f"{place} is {what}, and {flag} wants a folder: give another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(
            f"cannot write to {path}: choose another folder with {flag}, or ask for the right to "
            "write there"
        )
