"""The work of `dff predict`: on one device without Lightning, on several through its trainer."""

import argparse
import hashlib
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from dff.data.datasets.cityscapes import CLASSES
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.frame_times import checked_fps
from dff.data.video.sources import FOLDER_FPS, VideoInput, find_videos
from dff.inference.deploy.memory import keep_memory
from dff.inference.deploy.precision import dtype_of, usable_precision
from dff.inference.engine import predict_videos, read_clips
from dff.inference.export.loading import load_exported
from dff.inference.model import Model, load
from dff.inference.per_frame import default_flow, load_per_frame
from dff.inference.results.rate import RateWatch
from dff.inference.results.result_files import own_names, results_of
from dff.inference.results.writer import ResultWriter
from dff.inference.tasks.detection import Detection
from dff.models.contracts import Task
from dff.models.schedule import Schedule
from dff.models.schedules.named import CHANGE, FIXED, USUAL_KEY_DURATION, named_schedule
from dff.models.weights.load import SHIPPED, TORCHVISION


def predict(args: argparse.Namespace) -> int:
    """Predicts what the arguments of `dff predict` ask for.

    Returns:
        1 where a video could not be predicted.
    """
    schedule = named_schedule(
        args.schedule, args.key_duration, args.frames_per_second, args.threshold
    )
    if args.fps is not None:
        checked_fps(args.fps)
    keep_memory()
    usable_precision(args.precision, args.accelerator)
    device = only_device(args.accelerator, args.devices, args.num_nodes)
    if args.runtime != "torch":
        device = torch.device("cpu")  # of the frames: the runtime has its own
    if device is None and args.model:
        raise ValueError(f"--accelerator {args.accelerator} with --model: wanted auto, cpu or gpu")
    resizing = EvaluationTransform(args.short_side, args.max_side)
    if device is None:
        from dff.lit.prediction import TrainerPrediction

        run = TrainerPrediction(args, schedule)
        tasks: Mapping[str, Task] = run.module.tasks
    else:
        model = (
            load_per_frame_model(args, device)
            if args.model
            else load_trained(args, device, schedule)
        )
        tasks = model.tasks
    if args.seq_nms:
        link_detections(tasks)
    writer = result_writer(args, tasks)
    videos = videos_to_predict(args, writer)
    if not videos:
        return 0
    if device is None:
        failed, speaks = run(videos, writer)
    else:
        before = signal.signal(signal.SIGTERM, _end)
        from_file = model.networks.from_file
        clips = read_clips(videos, schedule, resizing, device=device, motion=from_file)
        watch = RateWatch(writer, args.frames_per_second or 0.0)
        try:
            predict_videos(model.engine(schedule), clips, watch)
        except _Terminated:
            print("terminated", file=sys.stderr)
            return 143
        finally:
            signal.signal(signal.SIGTERM, before)
        failed, speaks = writer.failed, True
        for sentence in watch.told:
            print(f"warning: {sentence}", file=sys.stderr)
    if speaks:
        print(f"{len(videos) - len(failed)} videos predicted to {args.output}")
        for reason in failed.values():
            print(reason, file=sys.stderr)
    return 1 if failed else 0


def load_trained(args: argparse.Namespace, device: torch.device, schedule: Schedule) -> Model:
    """The model of a checkpoint, or of an export."""
    if args.runtime != "torch":
        return load_exported(
            args.checkpoint,
            args.runtime,
            flow_network=args.flow_network,
            flow_from=args.flow_from,
            wants=schedule.wants,
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


def only_device(accelerator: str, devices: int | str, num_nodes: int) -> torch.device | None:
    """The device, where one process on one device does all; None where Lightning shares the work.

    Args:
        accelerator: One of Lightning's, such as "auto", "cpu" or "gpu".
        devices: How many, "auto", or the numbers of GPUs.
        num_nodes: Machines.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "cpu" or (accelerator == "auto" and found is None):
        found = torch.device("cpu")
    elif accelerator not in ("auto", "gpu") and (found is None or accelerator != found.type):
        return None  # Lightning knows others, and says what is wrong with a word
    if found is None or num_nodes != 1 or devices not in (1, "auto", -1):
        return None
    one = devices == 1 or (found.type == "cpu" and devices == "auto")
    return found if one or torch.accelerator.device_count() == 1 else None


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


def videos_to_predict(args: argparse.Namespace, writer: ResultWriter) -> list[VideoInput]:
    """The videos that are asked for and not finished, under the names of their results."""
    fps = FOLDER_FPS if args.fps is None else args.fps
    found = find_videos(args.inputs, fps)
    videos = own_names(writer.folder, found, results_of(writer.tasks))
    for video, before in zip(videos, found, strict=True):
        if video.name != before.name:
            print(f"{video.path} is written as {video.name}")
    left = [video for video in videos if not writer.finished(video)]
    if len(left) < len(videos):
        print(f"{len(videos) - len(left)} of {len(videos)} videos are finished already")
    return left


class _Terminated(BaseException):
    """The process was asked to end."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough, while what was begun is removed
    raise _Terminated
