"""Results of the segments of a long video, kept apart until they are joined to those of the video.

Processes that share a list predict the segments of a long video at the same time. The results of a
segment have its name, NAME@FIRST, which no video has.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dff.data.video.sources import VideoInput
from dff.data.video.writer import join_videos
from dff.inference.results.folders import DiskFolder, ResultFolder
from dff.inference.results.result_files import results_of, source_of
from dff.inference.results.video_results import SECONDS, Output, report_text

_MARK = "@"
"""What no name of a video contains; see `own_names`."""


def segment_of(video: VideoInput, first: int, end: int | None) -> VideoInput:
    """The frames of a video from number `first` up to `end`, or to its last."""
    return replace(video, name=f"{video.name}{_MARK}{first:07d}", segment=(first, end))


def whole_of(segment: VideoInput) -> VideoInput:
    """The video of a segment."""
    return replace(segment, name=segment.name.partition(_MARK)[0], segment=(0, None))


class SegmentedFolder:
    """A `ResultFolder` that keeps the results of segments in a folder of their own.

    Args:
        whole: Of the results of whole videos.
        segments: Of those of segments; a folder that all processes see.
    """

    def __init__(self, whole: ResultFolder, segments: Path) -> None:
        self.whole, self.segments = whole, DiskFolder(segments)
        self.work = whole.work

    def __str__(self) -> str:
        return str(self.whole)

    def prepare(self) -> None:
        """See `ResultFolder`."""
        self.whole.prepare()

    def report(self, name: str) -> dict[str, Any] | None:
        """See `ResultFolder`."""
        return self._of(name).report(name)

    def reports(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `ResultFolder`; of whole videos."""
        return self.whole.reports()

    def holds(self, name: str, results: Sequence[str]) -> bool:
        """See `ResultFolder`."""
        return self._of(name).holds(name, results)

    def stamps(self) -> dict[str, object]:
        """See `ResultFolder`."""
        return {**self.whole.stamps(), **self.segments.stamps()}

    def publish(self, begun: Path, name: str, results: Sequence[str], report: str) -> None:
        """See `ResultFolder`."""
        if _MARK in name:
            self.segments.prepare()
        self._of(name).publish(begun, name, results, report)

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """See `ResultFolder`."""
        return self.whole.once(name, make)

    def remove_segments(self, name: str) -> None:
        """Removes what there is of the segments of a video, as far as the disk allows it."""
        folder = self.segments.work
        for path in sorted(folder.glob(f"*{_MARK}*"), key=lambda path: path.suffix != ".json"):
            if path.name.startswith((f"{name}{_MARK}", f".{name}{_MARK}")):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            folder.rmdir()

    def _of(self, name: str) -> ResultFolder:
        return self.segments if _MARK in name else self.whole


def join_segments(
    output: Output, segments: Sequence[VideoInput], reasons: Mapping[str, str]
) -> str | None:
    """Makes the results of a video from those of its segments, which go.

    As with a video that is predicted in one piece, nothing is kept from a damaged frame on; and
    earlier results that are whole stay, where these are not.

    Args:
        output: Its folder is a `SegmentedFolder`, its claims have the name of the video.
        segments: All of them, in order, each predicted or damaged.
        reasons: Name of a segment -> why it could not be predicted in full.

    Returns:
        What became of the video where it is not whole.

    Raises:
        OSError: Nothing can be written.
        ValueError: Its name is another process's by now; see `Claims.check`.
    """
    folder, video = output.folder, whole_of(segments[0])
    assert isinstance(folder, SegmentedFolder)
    reports: dict[str, dict[str, Any]] = {}
    error = None
    for segment in segments:
        report = folder.report(segment.name)
        if report is not None:
            reports[segment.name] = report
        error = reasons.get(segment.name) if report is None else report.get("error")
        if error is not None:
            error = error.removeprefix("not predicted: ")
            break
    before = folder.report(video.name)
    if not reports or (error and before is not None and "error" not in before):
        folder.remove_segments(video.name)
        return f"not predicted: {_with_path(error, video)}" if error else None
    part = output.claims.begin(video.name)
    part.mkdir(exist_ok=True)
    results = results_of(output.tasks)
    for suffix in results:
        if suffix != ".json":
            files = [folder.segments.work / f"{name}{suffix}" for name in reports]
            _join(
                [file for file in files if file.exists()], part / f"{video.name}{suffix}", reports
            )
    output.claims.check(video.name)
    folder.publish(part, video.name, results, _report(video, list(reports.values()), error))
    shutil.rmtree(part, ignore_errors=True)
    folder.remove_segments(video.name)
    if error is None:
        return None
    frames = sum(report["frames"] for report in reports.values())
    return f"predicted in part: {_with_path(error, video)}; {frames} frames are kept"


def _with_path(reason: str, video: VideoInput) -> str:
    return reason if video.path in reason else f"{video.path}: {reason}"


def _join(files: Sequence[Path], target: Path, reports: Mapping[str, dict[str, Any]]) -> None:
    """Joins files of one kind: a video, lists in JSON, text, or folders."""
    if not files:
        return
    if target.suffix == ".mp4":
        times = [time for report in reports.values() for time in report["times"]]
        join_videos(target, files, times, max(report["duration"] for report in reports.values()))
    elif files[0].is_dir():
        target.mkdir()
        for file in (entry for folder in files for entry in folder.iterdir()):
            _link(file, target / file.name)
    elif target.suffix == ".json":
        lists = (
            file.read_text().removeprefix("[").removesuffix("]\n").strip("\n") for file in files
        )
        entries = [entries for entries in lists if entries]
        target.write_text("[\n" + ",\n".join(entries) + "\n]\n" if entries else "[]\n")
    else:
        with target.open("wb") as joined:
            for file in files:
                with file.open("rb") as stream:
                    shutil.copyfileobj(stream, joined)


def _link(file: Path, target: Path) -> None:
    # The segment stays whole until the video is: who joins them may be killed.
    try:
        os.link(file, target)
    except OSError:  # a file system without links
        shutil.copyfile(file, target)


def _report(video: VideoInput, reports: Sequence[dict[str, Any]], error: str | None) -> str:
    def total(key: str) -> float:
        return sum(report["seconds"][key] for report in reports)

    frames = sum(report["frames"] for report in reports)
    report = {
        "input": video.path,
        "source": source_of(video),
        "settings": reports[0]["settings"],
        "frames": frames,
        "key_frames": sum(report["key_frames"] for report in reports),
        "frames_per_second": frames / total("total"),
        "network_frames_per_second": frames / total("network"),
        "seconds": {key: total(key) for key in (*SECONDS, "total")},
        "duration": reports[-1]["duration"],
        "segments": len(reports),
        **({} if error is None else {"error": error}),
    }
    return report_text(report, [time for part in reports for time in part["times"]])
