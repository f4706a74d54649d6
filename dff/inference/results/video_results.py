"""The results of one video while it is predicted, given their names when they are complete."""

import json
import shutil
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from dff.data.video.clips import Clip
from dff.data.video.writer import VideoWriter
from dff.data.video_source import source_of
from dff.inference.engine import Result
from dff.inference.results.claims import Claims
from dff.inference.results.drawing import draw_predictions, mark_key_frames
from dff.inference.results.folders import ResultFolder
from dff.inference.results.label_pictures import LabelIds
from dff.inference.results.result_files import results_of
from dff.models.contracts import ResultFiles, Task


class Output(Protocol):
    """Where results go and which ones, as `ResultWriter` has them."""

    folder: ResultFolder
    claims: Claims
    tasks: Mapping[str, Task]
    settings: dict[str, Any]
    draw_overlay: bool
    labels: LabelIds
    threshold: float


SECONDS = ("decode", "network", "write", "wait_for_frames", "wait_for_writing")
"""Decoding and writing run beside the networks; only what they wait for costs them time. Frames are
waited for until they are on the device."""


class ErrorOutput:
    """Standard error, which nobody may read any more: a progress bar is no reason to end.

    An error in it would also leave tqdm's lock taken, for which the process then waits at its end.
    """

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Writes where somebody reads."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Likewise."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return sys.stderr.isatty()

    def fileno(self) -> int:
        """Of which tqdm asks the width."""
        return sys.stderr.fileno()


def report_text(report: Mapping[str, Any], times: Sequence[float]) -> str:
    """A report as JSON, with the times of all frames in one line."""
    return f'{json.dumps(report, indent=2)[:-2]},\n  "times": {json.dumps(list(times))}\n}}\n'


class VideoResults:
    """The files of a video that is being predicted; written by one thread at a time.

    Args:
        output: Where results go.
        first: The first of them.
    """

    def __init__(self, output: Output, first: Result) -> None:
        self.output, self.video = output, first.clip.video
        self.name = self.video.name
        self.source = source_of(self.video)
        self.overlay: VideoWriter | None = None
        self.files: dict[str, ResultFiles] | None = None  # of each head that has some
        self.aborted = self.ended = False
        self.times, self.end = array("d"), 0.0  # 8 bytes for a frame
        self.key_frames = 0
        self.seconds = dict.fromkeys(SECONDS, 0.0)
        self.started = first.started
        self.bar = tqdm(
            total=first.clip.frame_count, desc=self.name, unit="frame", file=ErrorOutput()
        )
        self.part: Path | None = None  # nothing here is ours before `claim`

    def claim(self) -> None:
        """Keeps other processes from writing results of this name; before anything else."""
        self.part = self.output.claims.begin(self.name)

    def write(self, result: Result) -> None:
        """Adds the frames of one clip."""
        if self.aborted or self.part is None:
            return
        started, clip = time.perf_counter(), result.clip
        self.part.mkdir(exist_ok=True)
        if self.output.draw_overlay:
            self._write_overlay(self.part, clip, result)
        if self.files is None:
            self.files = self._open_files(self.part)
        for head, files in self.files.items():
            files.write(clip, result.predictions[head])
        self.times.extend(clip.times)
        self.key_frames += sum(result.key_frames)
        self.end = clip.end
        self.seconds["decode"] += clip.decode_seconds
        self.seconds["network"] += result.seconds
        self.seconds["write"] += time.perf_counter() - started
        self.bar.update(len(clip.times))

    def _write_overlay(self, part: Path, clip: Clip, result: Result) -> None:
        pictures = draw_predictions(
            clip.frames, result.predictions, self.output.tasks, self.output.threshold
        ).numpy()
        mark_key_frames(pictures, result.key_frames)
        if self.overlay is None:
            self.overlay = VideoWriter(
                part / f"{self.name}.mp4",
                clip.fps,
                pictures.shape[1:3],
                pixel_aspect=clip.pixel_aspect,
            )
        for picture, shown in zip(pictures, clip.times, strict=True):
            self.overlay.write(picture, shown)

    def _open_files(self, part: Path) -> dict[str, ResultFiles]:
        opened = {
            name: task.files(part, self.name, self.output.labels)
            for name, task in self.output.tasks.items()
        }
        return {name: files for name, files in opened.items() if files is not None}

    def finish(self, error: str | None = None) -> None:
        """Gives everything its name, the report last; `error` tells why frames are missing."""
        if self.aborted or self.part is None:
            return
        self.ended = True
        begun = self.part
        if self.overlay is not None:
            self.overlay.close(self.end)
        for files in (self.files or {}).values():
            files.close()
        self.output.claims.check(self.name)
        results, report = results_of(self.output.tasks), self._report(error)
        self.output.folder.publish(begun, self.name, results, report)
        shutil.rmtree(begun, ignore_errors=True)
        self.bar.total = len(self.times)  # fewer may be there than seemed to be
        self.bar.close()

    def _report(self, error: str | None) -> str:
        total, frames = time.perf_counter() - self.started, len(self.times)
        report = {
            "input": self.video.path,
            "source": self.source,
            "settings": self.output.settings,
            "frames": frames,
            "key_frames": self.key_frames,
            "frames_per_second": frames / total,
            "network_frames_per_second": frames / self.seconds["network"],
            "seconds": {**self.seconds, "total": total},
            "duration": round(self.end, 6),
            **({} if error is None else {"error": error}),
        }
        return report_text(report, [round(shown, 6) for shown in self.times])

    def abort(self) -> None:
        """Removes what has been written of this video, as far as the disk allows it."""
        if self.aborted:
            return
        self.aborted = True
        self.bar.close()
        if self.part is None:
            return
        if self.overlay is not None:
            self.overlay.abort()
        for files in (self.files or {}).values():
            files.abort()
        shutil.rmtree(self.part, ignore_errors=True)
