"""What a person typed, as paths that are there."""

import glob
import os
import re
from collections.abc import Callable, Iterator

from dff.data.files.addresses import scheme_of
from dff.data.files.images import natural_order
from dff.data.video.stream import VideoError, check_kind

_SEPARATORS = re.escape(os.sep + (os.altsep or ""))
_ANY_DEPTH = re.compile(rf"(?<![^{_SEPARATORS}])\*\*(?:[{_SEPARATORS}]+|$)")


def typed_paths(given: str) -> list[str]:
    """Turns a path or a glob into the paths that it stands for, in natural order.

    Raises:
        FileNotFoundError: There is nothing of that name, or nothing that matches.
        VideoError: An address, a pipe, a socket or a device.
    """
    # A name may hold brackets itself, or look like an address: what exists is neither.
    if given and os.path.exists(given):
        if os.path.isdir(given):
            return [given]
        # A worker process has another standard input: what it is here is said by its own name.
        path = os.path.realpath(given) if given.startswith(("/dev/", "/proc/")) else given
        check_kind(path if os.path.exists(path) else given)
        return [path]
    if os.path.islink(given):
        raise FileNotFoundError(f"'{given}' is a link that leads nowhere: give the file itself")
    if scheme := scheme_of(given):
        cure = "give its path" if scheme == "file" else "download or record it first"
        raise VideoError(f"'{given}' is an address, and videos are read from files: {cure}")
    if given == "-":
        raise VideoError("'-': videos are read from files, not from standard input: give a file")
    if not glob.has_magic(given):
        raise FileNotFoundError(
            f"no video and no folder at '{given}': check the path (it was looked up from "
            f"{os.getcwd()})"
        )
    matches = sorted({path for path in _expand(given) if os.path.exists(path)}, key=natural_order)
    if not matches:
        raise FileNotFoundError(f"nothing matches '{given}': check the folder and the pattern")
    return matches


def answers(ask: Callable[[], bool]) -> bool:
    """What an entry of a folder says; a link to itself, which can say nothing, is neither."""
    try:
        return ask()
    except OSError:
        return False


def _expand(pattern: str) -> Iterator[str]:
    """What matches a glob. `glob` itself would follow links in circles, two of them for ever."""
    depth = _ANY_DEPTH.search(pattern)
    if depth is None:
        yield from glob.iglob(pattern)
        return
    entered: set[str] = set()
    rest = pattern[depth.end() :] or "*"
    start = pattern[: depth.start()]
    for base in glob.iglob(start) if start else [""]:
        for folder in _folders(base, entered):
            yield from _expand(os.path.join(glob.escape(folder), rest))


def _folders(folder: str, entered: set[str]) -> Iterator[str]:
    """A folder and those below it, each once."""
    real = os.path.realpath(folder)
    if real in entered or not os.path.isdir(real):
        return
    entered.add(real)
    yield folder
    with os.scandir(real) as entries:
        below = [entry.name for entry in entries if answers(entry.is_dir)]
    for name in sorted(below, key=natural_order):
        if not name.startswith("."):
            yield from _folders(os.path.join(folder, name), entered)
