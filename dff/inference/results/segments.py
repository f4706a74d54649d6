"""Results of the segments of a long video, kept apart until they are joined to those of the video.

Processes that share a list predict the segments of a long video at the same time. The results of a
segment have its name, NAME@FIRST-END, which no video has.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dff.data.video.sources import VideoInput
from dff.data.video.writer import join_videos
from dff.data.video_source import source_of
from dff.inference.results.folders import DiskFolder, ResultFolder
from dff.inference.results.result_files import RESULTS
from dff.inference.results.video_results import SECONDS, report_text
from dff.inference.results.writer import ResultWriter, in_part, not_predicted

MARK = "@"
"""What no name of a video contains; see `find_videos`."""


class SegmentsGoneError(Exception):
    """Segments that were predicted are not there any more, or of another state of the video."""


def segment_of(video: VideoInput, first: int, end: int | None) -> VideoInput:
    """The frames of a video from number `first` up to `end`, or to its last."""
    behind = "" if end is None else f"{end:07d}"
    return replace(video, name=f"{video.name}{MARK}{first:07d}-{behind}", segment=(first, end))


def whole_of(segment: VideoInput) -> VideoInput:
    """The video of a segment."""
    return replace(segment, name=segment.name.partition(MARK)[0], segment=(0, None))


class SegmentedFolder:
    """A `ResultFolder` that keeps the results of segments in a folder of their own.

    Args:
        whole: Of the results of whole videos.
        shared: Folder that all processes see.
        results: Of `results_of`.

    Raises:
        ValueError: A task writes files that cannot be joined.
    """

    def __init__(self, whole: ResultFolder, shared: Path, results: Sequence[str]) -> None:
        if others := [suffix for suffix in results if suffix not in RESULTS]:
            raise ValueError(
                f"--segment_frames: a task of this model writes NAME{others[0]}, and nobody knows "
                "how to join such files: leave --segment_frames out"
            )
        digest = hashlib.sha256(str(whole).encode(errors="surrogateescape")).hexdigest()[:8]
        self.whole, self.segments = whole, DiskFolder(shared / f"segments-{digest}")
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
        if MARK not in name:
            self.whole.publish(begun, name, results, report)
            return
        self.segments.prepare()
        try:
            self.segments.publish(begun, name, results, report)
        except FileNotFoundError:  # another process has just removed the folder, which was empty
            self.segments.prepare()
            self.segments.publish(begun, name, results, report)

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """See `ResultFolder`."""
        return self.whole.once(name, make)

    def remove(self, chosen: Callable[[str], bool]) -> None:
        """Removes the segments of videos that are chosen by their names, as far as the disk allows.

        The folder goes with the last of them.
        """
        folder = self.segments.work
        if not folder.is_dir():
            return
        for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".json"):
            if not chosen(path.name.lstrip(".").partition(MARK)[0]):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            folder.rmdir()

    def _of(self, name: str) -> ResultFolder:
        return self.segments if MARK in name else self.whole


def join_segments(
    writer: ResultWriter,
    folder: SegmentedFolder,
    segments: Sequence[VideoInput],
    reasons: Mapping[str, str],
    check: Callable[[], object],
) -> str | None:
    """Makes the results of a video from those of its segments, which go.

    As with a video that is predicted in one piece, nothing is kept from a damaged frame on; and
    earlier results that are whole stay, where these are not.

    Args:
        writer: Of the results; its claims have the name of the video.
        folder: That of the writer.
        segments: All of them, in order, each predicted or damaged.
        reasons: Name of a segment -> why it could not be predicted in full.
        check: Called again and again; what it raises ends the joining.

    Returns:
        What became of the video where it is not whole.

    Raises:
        OSError: Nothing can be written.
        SegmentsGoneError: Some are not what was predicted any more.
        ValueError: They cannot be joined; or the name is another process's by now, see `Claims`.
    """
    video = whole_of(segments[0])
    source = source_of(video)
    reports: dict[str, dict[str, Any]] = {}
    error = None
    for segment in segments:
        check()
        report = writer.report_of(segment)
        if report is not None:
            reports[segment.name] = report
        error = reasons.get(segment.name) if report is None else report.get("error")
        if error is not None:
            error = error.removeprefix("not predicted: ")
            break
        if report is None:
            raise SegmentsGoneError(segment.name)
    before = folder.report(video.name)
    if error is not None and (not reports or (before is not None and "error" not in before)):
        folder.remove(lambda name: name == video.name)
        return not_predicted(video, error)
    times = [time for report in reports.values() for time in report["times"]]
    if any(after <= earlier for earlier, after in pairwise(times)):
        raise ValueError(
            f"the segments of {video.path} overlap: its frames cannot be found by their times; "
            "predict it without --segment_frames"
        )
    part = writer.claims.begin(video.name)
    part.mkdir(exist_ok=True)
    for suffix in RESULTS[1:]:
        check()
        files = [folder.segments.work / f"{name}{suffix}" for name in reports]
        there = [file.exists() for file in files]
        if any(there) and not all(there):
            raise SegmentsGoneError(video.name)
        target = part / f"{video.name}{suffix}"
        if not any(there):
            continue
        if suffix == ".mp4":
            join_videos(target, files, times, list(reports.values())[-1]["duration"])
        elif suffix == "":
            _join_folders(files, target)
        elif suffix.endswith(".json"):
            _join_lists(files, target)
        else:
            _join_texts(files, target)
    writer.claims.check(video.name)
    joined = _report(video, source, list(reports.values()), times, error)
    folder.publish(part, video.name, RESULTS, joined)
    shutil.rmtree(part, ignore_errors=True)
    folder.remove(lambda name: name == video.name)
    return None if error is None else in_part(video, error, len(times))


def _join_folders(folders: Sequence[Path], target: Path) -> None:
    target.mkdir()
    for file in (entry for folder in folders for entry in folder.iterdir()):
        # The segment stays whole until the video is: who joins them may be killed.
        try:
            os.link(file, target / file.name)
        except OSError:  # a file system without links
            shutil.copyfile(file, target / file.name)


def _join_lists(files: Sequence[Path], target: Path) -> None:
    """Joins lists in JSON that have an entry in each line."""
    empty = True
    with target.open("w") as joined:
        for file in files:
            with file.open() as stream:
                for line in stream:
                    entry = line.rstrip(",\n")
                    if entry not in ("[", "]", "[]"):
                        joined.write(("[\n" if empty else ",\n") + entry)
                        empty = False
        joined.write("[]\n" if empty else "\n]\n")


def _join_texts(files: Sequence[Path], target: Path) -> None:
    with target.open("wb") as joined:
        for file in files:
            with file.open("rb") as stream:
                shutil.copyfileobj(stream, joined)


def _report(
    video: VideoInput,
    source: dict[str, Any],
    reports: Sequence[dict[str, Any]],
    times: Sequence[float],
    error: str | None,
) -> str:
    seconds = {
        key: sum(report["seconds"][key] for report in reports) for key in (*SECONDS, "total")
    }
    report = {
        "input": video.path,
        "source": source,
        "settings": reports[0]["settings"],
        "frames": len(times),
        "key_frames": sum(report["key_frames"] for report in reports),
        "frames_per_second": len(times) / seconds["total"],
        "network_frames_per_second": len(times) / seconds["network"],
        "seconds": seconds,
        "duration": reports[-1]["duration"],
        "segments": len(reports),
        **({} if error is None else {"error": error}),
    }
    return report_text(report, times)
