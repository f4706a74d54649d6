"""The work of `dff predict`: on one device without Lightning, on several through its trainer."""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch

from dff.data.datasets.cityscapes import CLASSES
from dff.data.files.addresses import is_address
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.frame_times import checked_fps
from dff.data.video.sources import FOLDER_FPS, VideoInput, distinct, find_videos
from dff.inference.cluster.claim_files import EXPIRY
from dff.inference.cluster.ray_crew import RayCrew
from dff.inference.cluster.remote_videos import videos_at_address
from dff.inference.cluster.shared_work import SharedWork
from dff.inference.cluster.splitting import split_long
from dff.inference.cluster.video_list import find_listed, read_list, shared_names
from dff.inference.deploy.device import only_device
from dff.inference.deploy.memory import keep_memory
from dff.inference.deploy.precision import dtype_of, usable_precision
from dff.inference.engine import predict_videos, read_clips
from dff.inference.export.loading import load_exported
from dff.inference.model import Model, load
from dff.inference.per_frame import default_flow, load_per_frame
from dff.inference.results.folders import shared_folder
from dff.inference.results.rate import RateWatch
from dff.inference.results.result_files import own_names, results_of
from dff.inference.results.segments import SegmentedFolder
from dff.inference.results.writer import ResultWriter
from dff.inference.tasks.detection import Detection
from dff.models.contracts import Task
from dff.models.schedule import Schedule
from dff.models.schedules.named import CHANGE, FIXED, USUAL_KEY_DURATION, named_schedule
from dff.models.weights.load import SHIPPED, TORCHVISION

if TYPE_CHECKING:
    from dff.lit.prediction import TrainerPrediction

LEFT_ALONE = 3
"""Exit code of a process that shares videos with others, where all is done and some videos could
not be predicted: unlike 1, it tells a cluster that starting again does not help."""


def predict(args: argparse.Namespace) -> int:
    """Predicts what the arguments of `dff predict` ask for.

    Returns:
        1 where a video could not be predicted, `LEFT_ALONE` where the videos are shared.
    """
    keep_memory()
    # an export may take minutes: what it is for is looked up before
    early = find_asked(args) if args.runtime != "torch" else None
    run = Prediction(args)
    videos = find_asked(args) if early is None else early
    before = None if run.trainer else signal.signal(signal.SIGTERM, _end)
    try:
        if args.claim or args.ray:
            return _predict_shared(run, args, videos)
        videos = videos_to_predict(args, run.writer, videos)
        if not videos:
            return 0
        failed, speaks = run.trainer(videos, run.writer) if run.trainer else (run(videos), True)
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 143
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    if speaks:
        print(f"{len(videos) - len(failed)} videos predicted to {run.writer.folder}")
        for reason in failed.values():
            print(reason, file=sys.stderr)
    return (LEFT_ALONE if args.shard else 1) if failed else 0


class Prediction:
    """What a command line asks for, ready for videos: model, schedule and writer.

    Args:
        args: Of `dff predict`.

    Attributes:
        writer: Of the results.
        trainer: In place of a call, where Lightning shares the videos of several devices.

    Raises:
        OSError: A file of the model cannot be read.
        ValueError: Arguments are out of their range, or do not fit the model.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.schedule = named_schedule(
            args.schedule, args.key_duration, args.frames_per_second, args.threshold
        )
        if args.fps is not None:
            checked_fps(args.fps)
        usable_precision(args.precision, args.accelerator)
        device = only_device(args.accelerator, args.devices, args.num_nodes)
        if args.runtime != "torch":
            device = torch.device("cpu")  # of the frames: the runtime has its own
        for mode, given in (("model", args.model), ("claim", args.claim), ("ray", args.ray)):
            if device is None and given:
                raise ValueError(
                    f"--accelerator {args.accelerator} with --{mode}: wanted auto, cpu or gpu"
                )
        self.resizing = EvaluationTransform(args.short_side, args.max_side)
        self.trainer = _trainer(args, self.schedule) if device is None else None
        if self.trainer is not None:
            tasks: Mapping[str, Task] = self.trainer.module.tasks
        elif device is not None:
            self.model = (
                load_per_frame_model(args, device) if args.model else load_trained(args, device)
            )
            self.engine = self.model.engine(self.schedule)
            tasks = self.model.tasks
        if args.seq_nms:
            link_detections(tasks)
        self.writer = result_writer(args, tasks)
        if args.segment_frames:
            shared = shared_folder(self.writer.folder, args.claims)
            self.writer.folder = SegmentedFolder(self.writer.folder, shared, results_of(tasks))

    def __call__(self, videos: Iterable[VideoInput]) -> dict[str, str]:
        """Predicts videos one after the other, on one device; each is asked for when it is due.

        Returns:
            Name of a video -> what became of it, of all that were not predicted in full so far.
        """
        from_file = self.model.networks.from_file
        clips = read_clips(
            videos,
            self.schedule,
            self.resizing,
            device=self.model.device,
            check=self.writer.check,  # who waits for segments would not hear of it otherwise
            motion=from_file,
        )
        watch = RateWatch(self.writer, self.args.frames_per_second or 0.0)
        predict_videos(self.engine, clips, watch)
        for sentence in watch.told:
            print(f"warning: {sentence}", file=sys.stderr)
        return self.writer.failed


def _for_actor(args: argparse.Namespace) -> Prediction:
    keep_memory()
    return Prediction(args)


def _trainer(args: argparse.Namespace, schedule: Schedule) -> "TrainerPrediction":
    from dff.lit.prediction import TrainerPrediction

    return TrainerPrediction(args, schedule)


def _predict_shared(run: Prediction, args: argparse.Namespace, videos: Sequence[VideoInput]) -> int:
    run.writer.prepare()
    named = shared_names(run.writer.folder, videos, results_of(run.writer.tasks))
    expiry = args.claim_expiry or EXPIRY
    segments = {}
    if args.segment_frames:
        left = run.writer.unfinished(named)
        finished = {video.name for video in named} - {video.name for video in left}
        cast(SegmentedFolder, run.writer.folder).remove(lambda name: name in finished)
        segments = split_long(left, args.segment_frames, args.key_duration or USUAL_KEY_DURATION)
    shared = shared_folder(run.writer.folder, args.claims)
    with SharedWork(
        named, run.writer, expiry, args.retry_failed, folder=shared, segments=segments
    ) as work:
        if args.ray:
            crew = RayCrew(args.ray, args.ray_actors, args.ray_cpus, expiry)
            crew.predict(work, partial(_for_actor, args))
        else:
            run(work)
    unfinished = work.unfinished()
    done = len(videos) - len(work.failed) - len(unfinished)
    print(f"{done} of {len(videos)} videos are predicted in {run.writer.folder}")
    for reason in (*work.failed.values(), *unfinished.values()):
        print(reason, file=sys.stderr)
    if unfinished:
        return 1
    return LEFT_ALONE if work.failed else 0


def load_trained(args: argparse.Namespace, device: torch.device) -> Model:
    """The model of a checkpoint, or of an export."""
    if args.runtime != "torch":
        return load_exported(
            args.checkpoint,
            args.runtime,
            flow_network=args.flow_network,
            flow_from=args.flow_from,
        )
    return load(
        args.checkpoint,
        device=device,
        dtype=dtype_of(args.precision),
        compiled=args.compile,
        flow_network=args.flow_network,
        flow_from=args.flow_from,
    )


def load_per_frame_model(args: argparse.Namespace, device: torch.device) -> Model:
    """The model that --model names; its flow is named in the arguments from here on."""
    args.flow_network = args.flow_network or default_flow(device)
    return load_per_frame(
        args.model,
        weights=args.weights,
        random=args.random_weights,
        flow_network=args.flow_network,
        flow_weights=args.flow_weights,
        flow_from=args.flow_from,
        device=device,
    )


def link_detections(tasks: Mapping[str, Task]) -> None:
    """Lets the files of a detector hold what Seq-NMS makes of a whole video.

    Raises:
        ValueError: The model detects nothing.
    """
    detectors = [task for task in tasks.values() if isinstance(task, Detection)]
    if not detectors:
        raise ValueError(f"--seq_nms: the model has no boxes, its tasks are {', '.join(tasks)}")
    for task in detectors:
        task.linked = True


def result_writer(args: argparse.Namespace, tasks: Mapping[str, Task]) -> ResultWriter:
    """Writes results as the arguments say.

    Raises:
        ValueError: Ids of Cityscapes are wanted, and the model has other classes.
    """
    classes = [tuple(task.classes) for task in tasks.values()]
    if args.labels == "cityscapes" and tuple(CLASSES) not in classes:
        raise ValueError("--labels cityscapes: this model has other classes; use --labels train")
    settings = {
        **_model_settings(args),
        **_schedule_settings(args),
        **({"seq_nms": True} if args.seq_nms else {}),
        "flow_network": args.flow_network,
        "flow_from": args.flow_from,
        "short_side": args.short_side,
        "max_side": args.max_side,
        "precision": args.precision,
    }
    return ResultWriter(args.output, tasks, settings, not args.no_overlay, args.labels, args.score)


def _model_settings(args: argparse.Namespace) -> dict[str, str | None]:
    """What tells a model from others: a `last.ckpt` that was trained on is another one."""
    if not args.model:
        runtime = {} if args.runtime == "torch" else {"runtime": args.runtime}
        return {"checkpoint": _digest(args.checkpoint), **runtime}
    weights = "random" if args.random_weights else _digest(args.weights) or "its own"
    return {"model": args.model, "weights": weights, "flow_weights": _digest(args.flow_weights)}


def _schedule_settings(args: argparse.Namespace) -> dict[str, Any]:
    if args.schedule == FIXED:
        return {"key_duration": args.key_duration or USUAL_KEY_DURATION}
    name = args.schedule if args.schedule == CHANGE else _digest(args.schedule)
    return {
        "schedule": name,
        "key_duration": args.key_duration,
        "frames_per_second": args.frames_per_second,
        "schedule_threshold": args.threshold,  # the writer's own is that of drawn boxes
    }


def _digest(file: str | Path | None) -> str | None:
    if file is None or str(file) in SHIPPED or str(file).startswith(TORCHVISION):
        return None if file is None else str(file)
    if Path(file).is_dir():  # an export
        graphs = "".join(str(_digest(graph)) for graph in sorted(Path(file).glob("*.*")))
        return hashlib.sha256(graphs.encode()).hexdigest()[:16]
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def find_asked(args: argparse.Namespace) -> list[VideoInput]:
    """The videos that are asked for, by name or in a list, whatever this process's share is."""
    fps = FOLDER_FPS if args.fps is None else args.fps
    lists = [] if args.list_file is None else [args.list_file]
    if args.ray:
        lists += [name for name in args.inputs if name.endswith(".txt") and os.path.isfile(name)]
    if not lists and not any(is_address(name) for name in args.inputs):
        return find_videos(args.inputs, fps)
    listed = find_listed((name for file in lists for name in read_list(file)), fps)
    others = [video for name in args.inputs if name not in lists for video in _found(name, fps)]
    return distinct([*listed, *others], fps) if others else listed


def _found(name: str, fps: float) -> list[VideoInput]:
    return videos_at_address(name, patterns=True) if is_address(name) else find_videos([name], fps)


def videos_to_predict(
    args: argparse.Namespace, writer: ResultWriter, found: Sequence[VideoInput]
) -> list[VideoInput]:
    """The videos of this process that are not finished, under the names of their results."""
    results = results_of(writer.tasks)
    if args.shard is None:
        videos = own_names(writer.folder, found, results)
    else:
        index, count = args.shard
        writer.prepare()
        videos = shared_names(writer.folder, found, results)[index::count]
        found = found[index::count]
        if not found:
            print(f"no video of the list is this shard's ({index}/{count})")
    for video, before in zip(videos, found, strict=True):
        if video.name != before.name:
            print(f"{video.path} is written as {video.name}")
    left = writer.unfinished(videos)
    if len(left) < len(videos):
        print(f"{len(videos) - len(left)} of {len(videos)} videos are finished already")
    return left


class _Terminated(BaseException):
    """The process was asked to end."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough, while what was begun is removed
    raise _Terminated
