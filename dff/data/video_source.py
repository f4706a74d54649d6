"""What tells a video from others, and from itself with other content."""

import os
from typing import Any

from dff.data.files.remote import version_of
from dff.data.video.sources import FOLDER_FPS, VideoInput


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
    path, first = place_in(video)
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


def place_in(video: VideoInput) -> tuple[str, str | None]:
    """Where a video is, and the name of its first frame where it is a folder of images."""
    return video.place, video.frames[0] if video.frames else None
