"""Which results in a folder are of which video; no other file is ever replaced or removed."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dff.data.video.sources import FOLDER_FPS, VideoInput
from dff.inference.results.detection_files import SUFFIXES
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
    return source


def own_names(
    folder: Path, videos: Sequence[VideoInput], results: Sequence[str] = RESULTS
) -> list[VideoInput]:
    """Gives each video the name of its earlier results, else one that is free in the folder.

    Args:
        folder: Of the results; need not exist.
        videos: As of `find_videos`.
        results: Of `results_of`.
    """
    words = {word for result in results for word in result.split(".") if word}
    known = {}
    for earlier, report in _reports(folder):
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
            while (
                name.casefold() in taken or name in earlier_names or _exists(folder, name, results)
            ):
                count += 1
                name = f"{base}_{count}"
        taken.add(name.casefold())
        named.append(dataclasses.replace(video, name=name))
    return named


def remove_results(folder: Path, name: str, results: Sequence[str] = RESULTS) -> None:
    """Removes the results of a video, its report first."""
    for suffix in results:
        path = folder / f"{name}{suffix}"
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_report(folder: Path, name: str) -> dict[str, Any] | None:
    """The report of a finished video; None where there is none."""
    return _read(folder / f"{name}.json")


def report_part(folder: Path, name: str) -> Path:
    """The report's file until the video is finished."""
    return folder / f".{name}.json.part"


def _reports(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and reports of all videos whose results are in a folder, or were begun to be put there.

    Those that were begun say whose the rest is, should the process have been killed in between.
    """
    for pattern, before, after in ((".*.json.part", 1, 10), ("*.json", 0, 5)):
        for file in folder.glob(pattern):
            if file.name.endswith((".boxes.json", ".boxes.json.part")):  # they may be large
                continue
            report = _read(file)
            if report is not None:
                yield file.name[before:-after], report


def _read(file: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    ours = isinstance(report, dict) and isinstance(report.get("source"), dict)
    return report if ours and {"path", "first_frame"} <= report["source"].keys() else None


def _where(video: VideoInput) -> tuple[str, str | None]:
    return os.path.realpath(video.path), video.frames[0] if video.frames else None


def _exists(folder: Path, name: str, results: Sequence[str]) -> bool:
    return any(os.path.lexists(folder / f"{name}{suffix}") for suffix in results)
