"""Predicts videos with a checkpoint; the model's settings come from it.

dff predict runs/demo/model.ckpt video.mp4 'more/*.mp4' folder/of/frames
"""

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args

from dff.models.names import ClassicalFlowName


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a video could not be predicted."""
    args = parse(arguments)

    import lightning as L

    from dff.data.datasets.cityscapes import CLASSES
    from dff.data.video.frame_times import checked_fps
    from dff.data.video.sources import FOLDER_FPS, find_videos
    from dff.inference.deploy.memory import keep_memory
    from dff.inference.results.result_files import own_names, results_of
    from dff.lit.checkpoints import load_model
    from dff.lit.datamodules.datasets import Videos
    from dff.lit.precision import usable_precision
    from dff.lit.writer import PredictionWriter, gather_failures
    from dff.models.schedule import FixedSchedule

    FixedSchedule(args.key_duration)
    fps = FOLDER_FPS if args.fps is None else checked_fps(args.fps)
    keep_memory()
    usable_precision(args.precision, args.accelerator)
    module = load_model(args.checkpoint, args.flow_network)
    module.compiles = args.compile
    classes = [tuple(task.classes) for task in module.tasks.values()]
    if args.labels == "cityscapes" and tuple(CLASSES) not in classes:
        raise ValueError("--labels cityscapes: this model has other classes; use --labels train")
    writer = PredictionWriter(
        args.output,
        {
            "checkpoint": digest(args.checkpoint),
            "key_duration": args.key_duration,
            "flow_network": args.flow_network,
            "short_side": args.short_side,
            "max_side": args.max_side,
            "precision": args.precision,
        },
        draw_overlay=not args.no_overlay,
        labels=args.labels,
        threshold=args.score,
    )
    found = find_videos(args.inputs, fps)
    videos = own_names(writer.folder, found, results_of(module.tasks))
    for video, before in zip(videos, found, strict=True):
        if video.name != before.name:
            print(f"{video.path} is written as {video.name}")
    data = Videos(videos, args.key_duration, args.short_side, args.max_side)
    open_videos = data.videos = [video for video in videos if not writer.finished(video)]
    if len(open_videos) < len(videos):
        print(f"{len(videos) - len(open_videos)} of {len(videos)} videos are finished already")
    if not open_videos:
        return 0
    trainer = L.Trainer(
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.num_nodes,
        precision=args.precision,
        callbacks=[writer],
        logger=False,
        enable_progress_bar=False,  # the writer's counts frames
    )
    trainer.predict(module, data, return_predictions=False)
    failed = gather_failures(trainer, writer.failed)
    if trainer.is_global_zero:
        print(f"{len(open_videos) - len(failed)} videos predicted to {args.output}")
        for reason in failed.values():
            print(reason, file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; its help and its mistakes wait for no import."""
    parser = Parser(
        prog="dff predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="a checkpoint that dff fit wrote")
    parser.add_argument("inputs", nargs="+", help="video files, folders of frames, globs")
    parser.add_argument("--output", default="predictions", help="folder to write to")
    parser.add_argument("--key_duration", type=int, default=5, help="one key frame in every l")
    parser.add_argument(
        "--flow_network",
        choices=get_args(ClassicalFlowName),
        help="a classical flow in place of the model's flow network",
    )
    parser.add_argument("--short_side", type=int, help="show the network frames of this side")
    parser.add_argument(
        "--max_side",
        "--longest",
        type=int,
        help="with --short_side, most pixels of the longer side",
    )
    parser.add_argument(
        "--fps",
        type=float,
        help="frames per second of folders of images (17, as Cityscapes); files have their own",
    )
    parser.add_argument(
        "--labels",
        choices=["train", "cityscapes", "none"],
        default="train",
        help="ids in the label pictures; cityscapes ids are what the official evaluation reads",
    )
    parser.add_argument(
        "--score", type=float, default=0.5, help="draw no boxes with a lower score; all are written"
    )
    parser.add_argument("--no_overlay", action="store_true", help="write no overlay video")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument(
        "--devices", type=devices, default=1, help="how many processes share the videos, or auto"
    )
    parser.add_argument("--num_nodes", type=int, default=1)
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: slow at first, for long videos"
    )
    parser.given = sys.argv[1:] if arguments is None else arguments
    return parser.parse_args(arguments)


class Parser(argparse.ArgumentParser):
    """Knows that a file may be named like an option."""

    given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Ends with the message, and with the cure where a word looks like a file."""
        for word in self.given:
            if word.startswith("-") and (os.path.exists(word) or re.search(r"\.\w+$", word)):
                message += f"; for a file of that name, give ./{word}, or put -- before it"
                break
        super().error(message)


def devices(word: str) -> int | str:
    """As Lightning takes them: a number, "auto", or the numbers of GPUs ("0,2")."""
    if not re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+,?|\d+,", word):
        raise argparse.ArgumentTypeError(f"{word!r}: wanted a number, auto, or GPUs such as 0,2")
    return int(word) if word.lstrip("-").isdigit() else word


def digest(file: str) -> str:
    """What a checkpoint holds, in short: a `last.ckpt` that was trained on is another one."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
