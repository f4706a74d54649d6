"""Results to disk while predicting: overlay video, label pictures, boxes and timings."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dff.data.video.sources import VideoInput
from dff.data.video_source import source_of
from dff.inference.background import Background
from dff.inference.engine import Result
from dff.inference.results.claims import Claims, NameLocks
from dff.inference.results.folders import ResultFolder
from dff.inference.results.label_pictures import LabelIds
from dff.inference.results.remote_folder import result_folder
from dff.inference.results.video_results import VideoResults
from dff.models.contracts import Task

WAITING_CLIPS = 2
"""Most clips that are being written or wait for it; the networks wait for room."""


def not_predicted(video: VideoInput, reason: str) -> str:
    """The words for a video of which nothing is kept."""
    return f"not predicted: {_with_path(video, reason)}"


def in_part(video: VideoInput, reason: str, frames: int) -> str:
    """The words for a video of which the first frames are kept."""
    return f"predicted in part: {_with_path(video, reason)}; {frames} frames are kept"


def _with_path(video: VideoInput, reason: str) -> str:
    return reason if video.path in reason else f"{video.path}: {reason}"


class ResultWriter:
    """Writes, for each video, NAME.mp4, the files of each task, and last NAME.json; a `Sink`.

    A segmentation is written as label pictures NAME/*.png, detections as NAME.boxes.json and
    NAME.boxes.txt. NAME.json tells when each frame is shown, and marks a video as finished; until
    then everything is in the folder .NAME.part, so an interrupted run never looks finished. Of a
    damaged video the results of the good frames are kept, and NAME.json has the `error`.

    Drawing and writing run in a thread beside the networks. What goes wrong there, a full disk for
    one, is that video's failure, as everywhere; earlier results of it are replaced only by whole
    ones.

    Args:
        folder: Where to write: a folder, or an address of fsspec.
        tasks: Of the model.
        settings: What the results depend on (checkpoint, key duration, ...); stored in NAME.json,
            and a finished video with other settings is predicted again.
        draw_overlay: Write the overlay video.
        labels: Ids in the label pictures: "train" ids, "cityscapes" ids for the official
            evaluation, or "none" to write no pictures.
        threshold: Boxes with a lower score are written and not drawn.
        claims: Keep other processes from the same results; `NameLocks` if None.

    Attributes:
        failed: Name of a video -> what became of it, for those that were not predicted in full.
    """

    def __init__(
        self,
        folder: str | Path,
        tasks: Mapping[str, Task],
        settings: Mapping[str, Any],
        draw_overlay: bool = True,
        labels: LabelIds = "train",
        threshold: float = 0.5,
        claims: Claims | None = None,
    ) -> None:
        self.folder: ResultFolder = result_folder(folder)
        self.tasks, self.threshold = tasks, threshold
        self.settings = {
            **settings, "overlay": draw_overlay, "labels": labels, "threshold": threshold,
        }  # fmt: skip
        self.draw_overlay, self.labels = draw_overlay, labels
        self.claims: Claims = NameLocks(self.folder.work) if claims is None else claims
        self.failed: dict[str, str] = {}
        self._damaged: set[str] = set()  # of those, where the fault lies in the video itself
        self._open: VideoResults | None = None  # of which something is still to write
        self._background: Background | None = None
        self._ended: float | None = None  # when the last result was handed over

    def finished(self, video: VideoInput) -> bool:
        """Whether a video has been predicted with these settings; its name is of `own_names`."""
        report = self.report_of(video)
        return report is not None and "error" not in report

    def report_of(self, video: VideoInput) -> dict[str, Any] | None:
        """The report of a video as its file is, with these settings; of an `error` too."""
        report = self.folder.report(video.name)
        if report is None or report["source"] != source_of(video):
            return None
        return report if report.get("settings") == self.settings else None

    def unfinished(self, videos: Sequence[VideoInput]) -> list[VideoInput]:
        """Those of some videos that are still to predict."""
        reported = self.folder.stamps()
        return [v for v in videos if v.name not in reported or not self.finished(v)]

    def prepare(self) -> None:
        """Fails now, not after an hour, where nothing can be written.

        Raises:
            OSError: The folder cannot be made or written to.
        """
        self.folder.prepare()

    def put(self, result: Result) -> None:
        """Hands one result to the writing thread, and waits while too many are not written."""
        if self._background is None:
            self.prepare()
            self._background = Background(WAITING_CLIPS)
        began = time.perf_counter()
        waited = 0.0 if self._ended is None else result.started - self._ended
        self._background.do(self._write, result, waited)
        self._ended = time.perf_counter()
        video = self._open  # the thread may be done with it meanwhile
        if video is not None and video.name == result.clip.video.name:
            video.seconds["wait_for_writing"] += self._ended - began

    def check(self) -> None:
        """Raises what has gone wrong in the thread that writes, a fault of the code for one."""
        if self._background is not None:
            self._background.check()

    def finish(self) -> None:
        """Waits until all is written."""
        if self._background is not None:
            self._background.finish()
            self._background = None

    def cancel(self) -> None:
        """Removes what an interrupted run has begun."""
        if self._background is not None:
            self._background.cancel()
            self._background = None
        if self._open is not None:
            self._open.abort()
            self.claims.leave(self._open.name)
            self._open = None

    def _write(self, result: Result, waited: float) -> None:
        """Writes one result; closes the video after its last."""
        if self._open is None:
            self._open = self._begin(result)
        else:
            self._open.seconds["wait_for_frames"] += waited
        video = self._open
        try:
            if result.error is not None:
                if not result.clip.out_of_reach:
                    self._damaged.add(video.name)
                self._end_early(video, result.error)
            else:
                video.write(result)
                if result.clip.last:
                    video.finish()
        except (OSError, ValueError) as error:
            # The rest of this video is passed over; the other videos are finished.
            self._fail(video, self.told(error))
        if result.clip.last:
            self._open = None
            reason = self.failed.get(video.name)
            self.claims.end(video.name, reason, video.name in self._damaged)

    def _begin(self, first: Result) -> VideoResults:
        video = VideoResults(self, first)
        self.failed.pop(video.name, None)  # of an earlier attempt
        self._damaged.discard(video.name)
        try:
            video.claim()
        except (OSError, ValueError) as error:
            self._fail(video, self.told(error))
        return video

    def _end_early(self, video: VideoResults, reason: str) -> None:
        """Keeps what came before the damage, but for earlier results that are whole."""
        whole = self.folder.report(video.name)
        if not video.times or video.aborted or (whole is not None and "error" not in whole):
            self._fail(video, reason)
        elif not video.ended:
            video.finish(reason)
            self.failed.setdefault(video.name, in_part(video.video, reason, len(video.times)))

    def _fail(self, video: VideoResults, reason: str) -> None:
        self.failed.setdefault(video.name, not_predicted(video.video, reason))
        video.abort()

    def told(self, error: OSError | ValueError) -> str:
        """A fault in writing, in words."""
        fault = error if isinstance(error, OSError) else error.__cause__
        if isinstance(fault, OSError) and fault.strerror:  # the system's, not one told in words
            return (
                f"its results could not be written to {self.folder} ({fault.strerror}): "
                "make room there, or give another folder with --output"
            )
        return str(error)
