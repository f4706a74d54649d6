"""Which images are the frames of one video, told by their names alone."""

import os
import re
from collections.abc import Collection, Iterable, Mapping

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
NUMBERED = re.compile(r"(.*?)(\d+)")
RENAMED = re.compile(r"\.rf\.[0-9a-z]+$", re.IGNORECASE)
"""The end of a name that an export has given to an image that it drew by chance."""


def place_of(name: str) -> tuple[str, int] | None:
    """The video that an image belongs to and its number there; None where it is a single image.

    Frames of one video are in one folder, and their names differ by the number at their end.
    Images that an export has renamed are single images: their numbers may be those of copies.

    Args:
        name: Of the file, with its folder and suffix.
    """
    folder, stem = os.path.split(os.path.splitext(name)[0])
    numbered = None if RENAMED.search(stem) else NUMBERED.fullmatch(stem)
    if numbered is None:
        return None
    return f"{folder}/{numbered[1]}".strip("/") or "frames", int(numbered[2])


def grouped(
    names: Iterable[str], root: str | os.PathLike | None = None
) -> dict[str, dict[int, str]]:
    """Video -> number -> name of the image; a single image is a video of one frame, 0.

    Two images with one number (`1.png` and `01.png`) are single images both.

    Args:
        names: Of the files.
        root: Folder that the names of videos begin below, where those of the files are paths.
    """
    videos: dict[str, dict[int, str]] = {}
    for name in names:
        short = name if root is None else os.path.relpath(name, root)
        place = place_of(short)
        video, number = place if place is not None else (short, 0)
        if number in videos.get(video, {}):
            video, number = short, 0
        videos.setdefault(video, {})[number] = name
    return {video: dict(sorted(frames.items())) for video, frames in videos.items()}


def in_words(videos: Mapping[str, Collection[int]]) -> str:
    """What was grouped, in one sentence."""
    several = {video: frames for video, frames in videos.items() if len(frames) > 1}
    single = len(videos) - len(several)
    told = "frames are grouped by folder and ordered by the numbers in their names"
    example = next(iter(several), None)
    if example is None:
        return f"{single} images are single images: no names of a folder differ by a number alone"
    return (
        f"{told}: {len(several)} videos, such as {example} with {len(several[example])} frames"
        f"{f', and {single} single images' if single else ''}"
    )


def beside(first: str, listed: Collection[int]) -> dict[int, str]:
    """Images beside those of a video that are numbered like them: frames without labels.

    Args:
        first: Path of one of its images.
        listed: Numbers that it has already.

    Returns:
        Number -> path.
    """
    stem, suffix = os.path.splitext(os.path.basename(first))
    numbered = NUMBERED.fullmatch(stem)
    if numbered is None or RENAMED.search(stem):
        return {}
    folder, found = os.path.dirname(first), {}
    for name in os.listdir(folder):
        other, other_suffix = os.path.splitext(name)
        match = NUMBERED.fullmatch(other)
        alike = match and match[1] == numbered[1] and other_suffix == suffix
        if match and alike and suffix.lower() in IMAGES and int(match[2]) not in listed:
            found[int(match[2])] = os.path.join(folder, name)
    return found
