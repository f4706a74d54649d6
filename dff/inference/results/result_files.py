"""Which results in a folder are of which video; no other file is ever replaced or removed."""

import dataclasses
from collections.abc import Mapping, Sequence

from dff.data.video.sources import VideoInput
from dff.data.video_source import place_in
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
        name = known.get(place_in(video))
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
