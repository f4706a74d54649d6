"""Which results in a folder are of which video; no other file is ever replaced or removed."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dff.data.files.remote import version_of
from dff.data.video.sources import FOLDER_FPS, VideoInput
from dff.inference.results.detection_files import SUFFIXES
from dff.inference.results.folders import ResultFolder
from dff.models.contracts import Task

RESULTS = (".json", ".mp4", *SUFFIXES, "")
"""What follows a video's name in those of its results: the report, which marks it as finished, the
overlay, the boxes, and nothing for the folder of label pictures."""


def results_of(tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """`RESULTS`, and what else tasks write."""
    own = (suffix for task in tasks.values() for suffix in task.suffixes)
    return tuple(dict.fromkeys((*RESULTS, *own)))


def source_of(video: VideoInput) -> dict[str, Any]:
    """What tells a video from another one, and from itself with other content."""
    if video.address:
        return _remote_source(video)
    files = [video.path]
    if video.frames is not None:
        files = [os.path.join(video.path, frame) for frame in video.frames]
    size = modified = 0
    for file in files:
        try:
            found = os.stat(file)
        except OSError:  # it will be told when it is opened
            continue
        size, modified = size + found.st_size, max(modified, found.st_mtime_ns)
    path, first = _where(video)
    source: dict[str, Any] = {
        "path": path, "first_frame": first, "bytes": size, "modified": modified,
    }  # fmt: skip
    if video.frames is not None and video.fps != FOLDER_FPS:
        source["fps"] = video.fps
    if video.segment != (0, None):
        source["segment"] = list(video.segment)
    return source


def _remote_source(video: VideoInput) -> dict[str, Any]:
    try:
        size, version = version_of(video.address)
    except (OSError, ValueError):  # likewise
        size, version = 0, ""
    return {"path": video.path, "first_frame": None, "bytes": size, "modified": version}


def own_names(
    folder: ResultFolder, videos: Sequence[VideoInput], results: Sequence[str] = RESULTS
) -> list[VideoInput]:
    """Gives each video the name of its earlier results, else one that is free in the folder.

    Args:
        folder: Of the results; need not exist.
        videos: As of `find_videos`.
        results: Of `results_of`.
    """
    words = {word for result in results for word in result.split(".") if word}
    known = {}
    for earlier, report in folder.reports():
        known[report["source"]["path"], report["source"]["first_frame"]] = earlier
    taken: set[str] = set()
    earlier_names = set(known.values())  # there may be a hundred thousand
    named = []
    for video in videos:
        name = known.get(_where(video))
        if name is None:
            stem, dot, end = video.name.rpartition(".")
            # `a.boxes` with its report would have the name of the boxes of `a`
            base = f"{stem}_{end}" if dot and end in words else video.name
            name, count = base, 1
            while name.casefold() in taken or name in earlier_names or folder.holds(name, results):
                count += 1
                name = f"{base}_{count}"
        taken.add(name.casefold())
        named.append(dataclasses.replace(video, name=name))
    return named


def _where(video: VideoInput) -> tuple[str, str | None]:
    return video.place, video.frames[0] if video.frames else None
