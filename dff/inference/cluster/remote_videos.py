"""Videos at addresses of fsspec, found without being copied."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dff.data.files.addresses import scheme_of, shown
from dff.data.files.images import natural_order
from dff.data.files.remote import open_address, told
from dff.data.video.sources import VIDEO_SUFFIXES, VideoInput


def videos_at_address(address: str, patterns: bool = False) -> list[VideoInput]:
    """The videos at an address: one file, or those in a folder.

    A folder without videos is searched further down. A name that ends like a video's is taken at
    its word, so that a long list needs no question for each line.

    Args:
        address: Of a file or a folder.
        patterns: Whether `*` in it stands for names, not at web addresses.

    Raises:
        FileNotFoundError: There is no video.
        OSError, ValueError: It cannot be reached; see `open_address`.
    """
    files, path = open_address(address)
    if patterns and "*" in path and not _is_web(address):
        with told(address):
            found = [name for name in files.glob(path) if _is_video(name)]
    elif _is_video(path):
        found = [path]
    else:
        with told(address):
            is_folder = files.isdir(path)
            found = list(_search(files, path)) if is_folder else [path] * files.exists(path)
    if not found:
        raise FileNotFoundError(
            f"no video at {shown(address)}: give a file, or a folder that holds video files "
            f"({', '.join(sorted(VIDEO_SUFFIXES))}); folders of frames are read from this machine"
        )
    # What a file system calls a path may lack the host and who asks.
    trimmed, tail = address.rstrip("/"), path.strip("/")
    base = trimmed.removesuffix(tail) if trimmed.endswith(tail) else f"{scheme_of(address)}://"
    return [_video(address if name == path else base + name.strip("/")) for name in found]


def _video(address: str) -> VideoInput:
    name = address.partition("?")[0] if _is_web(address) else address
    return VideoInput(shown(address), PurePosixPath(name).stem, address=address)


def _search(files: Any, folder: str) -> Iterator[str]:
    entries = sorted(
        ((entry["name"].rstrip("/"), entry["type"]) for entry in files.ls(folder, detail=True)),
        key=lambda entry: natural_order(entry[0]),
    )
    videos = [name for name, kind in entries if kind == "file" and _is_video(name)]
    yield from videos
    if not videos:
        for name, kind in entries:
            hidden = PurePosixPath(name).name.startswith(".")
            if kind == "directory" and name != folder.rstrip("/") and not hidden:
                yield from _search(files, name)


def _is_video(path: str) -> bool:
    name = PurePosixPath(path.partition("?")[0])
    return name.suffix.lower() in VIDEO_SUFFIXES and not name.name.startswith(".")


def _is_web(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))
