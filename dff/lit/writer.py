"""Predictions to disk while predicting: overlay video, label pictures, boxes and timings."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from dff.data.samples import Interval
from dff.data.video.sources import VideoInput
from dff.inference.background import Background
from dff.inference.results.label_pictures import LabelIds
from dff.inference.results.result_files import (
    read_report,
    source_of,
)
from dff.inference.results.video_results import VideoResults
from dff.lit.module import LitDFF
from dff.models.contracts import Task

WAITING_INTERVALS = 2
"""Most intervals that are being written or wait for it; the networks wait for room."""


class PredictionWriter(L.Callback):
    """Writes, for each video, NAME.mp4, the files of each task, and last NAME.json.

    A segmentation is written as label pictures NAME/*.png, detections as NAME.boxes.json and
    NAME.boxes.txt. NAME.json tells when each frame is shown, and marks a video as finished; until
    then everything is in the folder .NAME.part, so an interrupted run never looks finished. Of a
    damaged video the results of the good frames are kept, and NAME.json has the `error`.

    Drawing and writing run in a thread beside the networks. What goes wrong there, a full disk for
    one, is that video's failure, as everywhere; earlier results of it are replaced only by whole
    ones.

    Args:
        folder: Where to write.
        settings: What the results depend on (checkpoint, key duration, ...); stored in NAME.json,
            and a finished video with other settings is predicted again.
        draw_overlay: Write the overlay video.
        labels: Ids in the label pictures: "train" ids, "cityscapes" ids for the official
            evaluation, or "none" to write no pictures.
        threshold: Boxes with a lower score are written and not drawn.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: dict[str, Any],
        draw_overlay: bool = True,
        labels: LabelIds = "train",
        threshold: float = 0.5,
    ) -> None:
        self.folder, self.threshold = Path(folder), threshold
        self.settings = {
            **settings, "overlay": draw_overlay, "labels": labels, "threshold": threshold,
        }  # fmt: skip
        self.draw_overlay, self.labels = draw_overlay, labels
        self.failed: dict[str, str] = {}
        self._video: VideoResults | None = None  # whose intervals the networks see
        self._open: list[VideoResults] = []  # it, and those of which something is still to write
        self._background: Background | None = None
        self._sources: dict[str, dict[str, Any]] = {}  # by name
        self._ended: float | None = None

    def finished(self, video: VideoInput) -> bool:
        """Whether a video has been predicted with these settings; its name is of `own_names`."""
        report = read_report(self.folder, video.name)
        if report is None or "error" in report:
            return False
        return report["source"] == source_of(video) and report.get("settings") == self.settings

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fails now, not after an hour, where nothing can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError
        except OSError as error:
            raise PermissionError(
                f"cannot write to {self.folder}: choose another folder with --output, "
                "or ask for the right to write there"
            ) from error
        videos = trainer.datamodule.videos
        self._sources = {video.name: source_of(video) for video in videos}
        self._background = Background(WAITING_INTERVALS)

    def on_predict_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: LitDFF,
        batch: Interval,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Starts a video, and its clock, before the networks see its first interval."""
        if self._video is None:
            self._video = self._begin(batch, self._sources[batch["name"]], pl_module.tasks)
        elif self._ended is not None:
            self._video.seconds["wait_for_frames"] += time.perf_counter() - self._ended

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: LitDFF,
        outputs: dict[str, Any] | None,
        batch: Interval,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hands one interval to the writing thread."""
        assert self._video is not None and self._background is not None  # since the batch began
        began = time.perf_counter()
        self._background.do(self._write, self._video, batch, outputs)
        self._ended = time.perf_counter()
        self._video.seconds["wait_for_writing"] += self._ended - began
        if batch["last"]:
            self._video = None

    def _begin(
        self, first: Interval, source: dict[str, Any], tasks: Mapping[str, Task]
    ) -> VideoResults:
        video = VideoResults(self, first, source, tasks)
        self._open.append(video)
        try:
            video.claim()
        except (OSError, ValueError) as error:
            self._fail(video, first, self._told(error))
        return video

    def _write(self, video: VideoResults, batch: Interval, outputs: dict[str, Any] | None) -> None:
        """Writes one interval; closes the video after its last."""
        try:
            if outputs is None:
                self._end_early(video, batch)
            else:
                video.write(batch, outputs)
                if batch["last"]:
                    video.finish(batch)
        except (OSError, ValueError) as error:
            # The rest of this video's intervals are passed over; the other videos are finished.
            self._fail(video, batch, self._told(error))
        if batch["last"]:
            self._open.remove(video)
            video.release()

    def _end_early(self, video: VideoResults, batch: Interval) -> None:
        """Keeps what came before the damage, but for earlier results that are whole."""
        reason = str(batch["error"])
        whole = read_report(self.folder, video.name)
        if not video.times or video.aborted or (whole is not None and "error" not in whole):
            self._fail(video, batch, reason)
            return
        video.finish(batch, reason)
        self._note(batch, "predicted in part", f"{reason}; {len(video.times)} frames are kept")

    def _fail(self, video: VideoResults, batch: Interval, reason: str) -> None:
        self._note(batch, "not predicted", reason)
        video.abort()

    def _note(self, batch: Interval, outcome: str, reason: str) -> None:
        named = reason if batch["path"] in reason else f"{batch['path']}: {reason}"
        self.failed.setdefault(batch["name"], f"{outcome}: {named}")

    def _told(self, error: OSError | ValueError) -> str:
        fault = error if isinstance(error, OSError) else error.__cause__
        if isinstance(fault, OSError) and fault.strerror:  # the system's, not one told in words
            return (
                f"its results could not be written to {self.folder} ({fault.strerror}): "
                "make room there, or give another folder with --output"
            )
        return str(error)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Waits until all is written."""
        assert self._background is not None
        self._background.finish()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Removes what an interrupted run has begun."""
        if self._background is not None:
            self._background.cancel()
        while self._open:
            video = self._open.pop()
            video.abort()
            video.release()


def gather_failures(trainer: L.Trainer, failed: dict[str, str]) -> dict[str, str]:
    """The failures of all processes, in each of them."""
    if trainer.world_size == 1:
        return failed
    gathered: list[dict[str, str] | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, failed)
    return {name: reason for share in gathered if share for name, reason in share.items()}
