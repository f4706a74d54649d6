"""Predictions to disk while predicting: overlay video, label pictures, boxes and timings."""

import json
import os
import shutil
import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import lightning as L
import torch
from torch import Tensor
from tqdm import tqdm

from dff.data.files.whole_files import write_whole
from dff.data.samples import Interval
from dff.data.video.sources import VideoInput
from dff.data.video.writer import VideoWriter
from dff.inference.background import Background
from dff.inference.results.claims import claim, release
from dff.inference.results.drawing import draw_predictions
from dff.inference.results.label_pictures import LabelIds
from dff.inference.results.result_files import (
    read_report,
    remove_results,
    report_part,
    results_of,
    source_of,
)
from dff.lit.module import LitDFF
from dff.models.contracts import ResultFiles, Task

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
        self._video: _OpenVideo | None = None  # whose intervals the networks see
        self._open: list[_OpenVideo] = []  # it, and those of which something is still to write
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
    ) -> "_OpenVideo":
        video = _OpenVideo(self, first, source, tasks)
        self._open.append(video)
        try:
            video.claim()
        except (OSError, ValueError) as error:
            self._fail(video, first, self._told(error))
        return video

    def _write(self, video: "_OpenVideo", batch: Interval, outputs: dict[str, Any] | None) -> None:
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

    def _end_early(self, video: "_OpenVideo", batch: Interval) -> None:
        """Keeps what came before the damage, but for earlier results that are whole."""
        reason = str(batch["error"])
        whole = read_report(self.folder, video.name)
        if not video.times or video.aborted or (whole is not None and "error" not in whole):
            self._fail(video, batch, reason)
            return
        video.finish(batch, reason)
        self._note(batch, "predicted in part", f"{reason}; {len(video.times)} frames are kept")

    def _fail(self, video: "_OpenVideo", batch: Interval, reason: str) -> None:
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


SECONDS = ("decode", "network", "write", "wait_for_frames", "wait_for_writing")
"""Decoding and writing run beside the networks; only what they wait for costs them time. Frames are
waited for until they are on the device."""


class _OpenVideo:
    """The files of a video that is being predicted; written by one thread at a time."""

    def __init__(
        self,
        writer: PredictionWriter,
        first: Interval,
        source: dict[str, Any],
        tasks: Mapping[str, Task],
    ) -> None:
        self.writer, self.source, self.tasks = writer, source, tasks
        self.name = first["name"]
        self.part = writer.folder / f".{self.name}.part"
        self.overlay: VideoWriter | None = None
        self.files: dict[str, ResultFiles] | None = None  # of each head that has some
        self.aborted = self.replacing = False
        self.times, self.end = array("d"), 0.0  # 8 bytes for a frame
        self.seconds = dict.fromkeys(SECONDS, 0.0)
        self.started = time.perf_counter()
        self.bar = tqdm(total=first["frame_count"], desc=self.name, unit="frame")
        self.lock: BinaryIO | None = None

    def claim(self) -> None:
        """Keeps other processes from writing results of this name; before anything else."""
        self.lock = claim(self.writer.folder, self.name)
        shutil.rmtree(self.part, ignore_errors=True)

    def release(self) -> None:
        """Lets other processes write results of this name; after all else."""
        if self.lock is not None:
            release(self.lock)

    def write(self, interval: Interval, outputs: dict[str, Any]) -> None:
        """Adds one interval's frames."""
        if self.aborted:
            return
        started = time.perf_counter()
        found = {name: v for name, v in outputs.items() if isinstance(v, Tensor)}
        self.part.mkdir(exist_ok=True)
        if self.writer.draw_overlay:
            self._write_overlay(interval, found)
        if self.files is None:
            self.files = self._open_files()
        for head, files in self.files.items():
            files.write(interval, found[head])
        self.times.extend(interval["times"])
        self.end = interval["end"]
        self.seconds["decode"] += interval["decode_seconds"]
        self.seconds["network"] += outputs["seconds"]
        self.seconds["write"] += time.perf_counter() - started
        self.bar.update(len(interval["times"]))

    def _write_overlay(self, interval: Interval, found: dict[str, Tensor]) -> None:
        pictures = draw_predictions(
            interval["frames"], found, self.tasks, self.writer.threshold
        ).numpy()
        # A bright line below the key frames shows the schedule at work.
        height = pictures.shape[1]
        pictures[0, -max(2, height // 100) :] = 255
        if self.overlay is None:
            self.overlay = VideoWriter(
                self.part / f"{self.name}.mp4",
                interval["fps"],
                pictures.shape[1:3],
                pixel_aspect=interval["pixel_aspect"],
            )
        for picture, shown in zip(pictures, interval["times"], strict=True):
            self.overlay.write(picture, shown)

    def _open_files(self) -> dict[str, ResultFiles]:
        opened = {
            n: t.files(self.part, self.name, self.writer.labels) for n, t in self.tasks.items()
        }
        return {name: files for name, files in opened.items() if files is not None}

    def finish(self, interval: Interval, error: str | None = None) -> None:
        """Gives everything its name, the report last; `error` tells why frames are missing."""
        if self.aborted:
            return
        folder = self.writer.folder
        if self.overlay is not None:
            self.overlay.close(self.end)
        for files in (self.files or {}).values():
            files.close()
        part = report_part(folder, self.name)
        write_whole(part, self._report(interval, error))
        # All is on the disk now. From here on what has this name is known to be ours, and results
        # of other settings go.
        self.replacing = True
        results = results_of(self.tasks)
        remove_results(folder, self.name, results)
        for suffix in results:
            if (self.part / f"{self.name}{suffix}").exists():
                os.replace(self.part / f"{self.name}{suffix}", folder / f"{self.name}{suffix}")
        os.replace(part, folder / f"{self.name}.json")
        shutil.rmtree(self.part, ignore_errors=True)
        self.bar.total = len(self.times)  # fewer may be there than seemed to be
        self.bar.close()

    def _report(self, interval: Interval, error: str | None) -> str:
        total, frames = time.perf_counter() - self.started, len(self.times)
        report = {
            "input": interval["path"],
            "source": self.source,
            "settings": self.writer.settings,
            "frames": frames,
            "frames_per_second": frames / total,
            "network_frames_per_second": frames / self.seconds["network"],
            "seconds": {**self.seconds, "total": total},
            "duration": round(self.end, 6),
            **({} if error is None else {"error": error}),
        }
        times = json.dumps([round(shown, 6) for shown in self.times])  # in one line
        return f'{json.dumps(report, indent=2)[:-2]},\n  "times": {times}\n}}\n'

    def abort(self) -> None:
        """Removes what has been written of this video, as far as the disk allows it."""
        if self.aborted:
            return
        self.aborted = True
        self.bar.close()
        if self.lock is None:  # nothing here is ours
            return
        if self.overlay is not None:
            self.overlay.abort()
        for files in (self.files or {}).values():
            files.abort()
        shutil.rmtree(self.part, ignore_errors=True)
        if self.replacing:
            with suppress(OSError):
                remove_results(self.writer.folder, self.name, results_of(self.tasks))
            with suppress(OSError):
                report_part(self.writer.folder, self.name).unlink(missing_ok=True)


def gather_failures(trainer: L.Trainer, failed: dict[str, str]) -> dict[str, str]:
    """The failures of all processes, in each of them."""
    if trainer.world_size == 1:
        return failed
    gathered: list[dict[str, str] | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, failed)
    return {name: reason for share in gathered if share for name, reason in share.items()}
