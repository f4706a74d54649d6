"""Predicts videos with a checkpoint, whose settings the model has, or with a model of your own.

dff predict runs/demo/model.ckpt video.mp4 'more/*.mp4' folder/of/frames
dff predict --model torchvision:deeplabv3_resnet101 video.mp4
dff predict runs/demo/model.ckpt --list videos.txt --claim
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from dff.commands.schedules.flags import add_schedule
from dff.data.files.addresses import is_address
from dff.models.names import FLOW_FROM_HELP, CodecFlowName, FlowFrom, FlowName, ReadyFlowName


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a video could not be predicted, 3 where they are shared."""
    args = parse(arguments)

    from dff.commands.prediction import predict

    return predict(args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; its help and its mistakes wait for no import."""
    parser = Parser(
        prog="dff predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.given = sys.argv[1:] if arguments is None else arguments
    if not any(word.partition("=")[0] == "--model" for word in parser.given):
        parser.add_argument(
            "checkpoint",
            help="one that dff fit wrote, or with --runtime a folder of dff export; left out with "
            "--model",
        )
    if any(word.partition("=")[0] == "--list" for word in parser.given):
        parser.set_defaults(inputs=[])
    else:
        parser.add_argument(
            "inputs", nargs="+", help="video files, folders of frames, globs, addresses (s3://)"
        )
    parser.add_argument(
        "--model",
        help="in place of a checkpoint: torchvision:NAME, transformers:NAME, or "
        "module:package.file:factory of your own; see dff speedup",
    )
    parser.add_argument("--weights", type=Path, help="with --model torchvision:NAME, its file")
    parser.add_argument("--random_weights", action="store_true", help="with --model")
    parser.add_argument("--output", default="predictions", help="folder or address to write to")
    add_schedule(parser)
    parser.add_argument(
        "--flow_network",
        choices=[*get_args(FlowName), *get_args(CodecFlowName)],
        help="a classical flow, light, or the motion vectors of the file (codec), in place of the "
        "model's flow network; with --model any flow network with --flow_weights, and if left out "
        "dis_fast on a CPU, light on a GPU",
    )
    parser.add_argument("--flow_weights", type=Path, help="with --model, of its flow network")
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), help=FLOW_FROM_HELP)
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
    parser.add_argument(
        "--seq_nms",
        action="store_true",
        help="link detections over each whole video and rescore them together, in their files",
    )
    parser.add_argument("--no_overlay", action="store_true", help="write no overlay video")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument(
        "--devices", type=devices, default=1, help="how many processes share the videos, or auto"
    )
    parser.add_argument("--num_nodes", type=int, default=1)
    add_sharing(parser)
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: slow at first, for long videos"
    )
    parser.add_argument(
        "--runtime",
        choices=["torch", "onnx", "pt2"],
        default="torch",
        help="who runs the networks: onnx is ONNX Runtime (pip install 'dff[onnx]'), pt2 what "
        "dff export --format pt2 compiled; a checkpoint is exported first",
    )
    args = parser.parse_args(arguments)
    check_sharing(parser, args)
    if args.runtime != "torch":
        for flag in ("model", "compile", "devices", "num_nodes", "precision"):
            if getattr(args, flag) != parser.get_default(flag):
                parser.error(
                    f"--{flag} with --runtime {args.runtime}: it runs a checkpoint or an export in "
                    "one process; dff export --precision writes half precision"
                )
    if args.model is None:
        if args.weights is not None or args.flow_weights is not None or args.random_weights:
            parser.error(
                "--weights, --flow_weights and --random_weights go with --model; a checkpoint has "
                "its own"
            )
        ready = (*get_args(ReadyFlowName), *get_args(CodecFlowName))
        if args.flow_network not in (None, *ready):
            parser.error(
                f"--flow_network {args.flow_network} without --model: a checkpoint has its own "
                f"flow network, and only {', '.join(ready)} take its place"
            )
        return args
    for flag in ("compile", "devices", "num_nodes", "precision"):
        if getattr(args, flag) != parser.get_default(flag):
            parser.error(f"--{flag} with --model: a model of your own runs as it is, on one device")
    args.checkpoint = None
    return args


def add_sharing(parser: argparse.ArgumentParser) -> None:
    """What lets many processes and machines share the videos."""
    parser.add_argument(
        "--list",
        dest="list_file",
        type=Path,
        help="in place of inputs: a text file with one video file or folder a line",
    )
    parser.add_argument(
        "--shard",
        type=shard,
        help="i/n: each n-th video, from number i on, for n processes with i from 0 to n - 1",
    )
    parser.add_argument(
        "--claim",
        action="store_true",
        help="share the videos with all processes that are given the same ones and the same "
        "--output, on any machines, and take over those of processes that die",
    )
    parser.add_argument(
        "--claim_expiry",
        type=float,
        help="with --claim: seconds of silence after which a process counts as dead (60); the same "
        "for all processes",
    )
    parser.add_argument(
        "--claims",
        metavar="FOLDER",
        help="with --claim or --ray where --output is an address: a folder that all processes "
        "see, for what they tell each other",
    )
    parser.add_argument(
        "--segment_frames",
        type=int,
        metavar="N",
        help="with --claim or --ray: share long videos in segments of N frames, rounded up to "
        "whole key durations, and join what was found",
    )
    parser.add_argument(
        "--retry_failed",
        action="store_true",
        help="with --claim: try videos again that could not be predicted before",
    )

    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the videos among the actors of a Ray cluster: its address, auto, or local for "
        "one on this machine; an input that ends in .txt is a list then",
    )
    parser.add_argument(
        "--ray_actors",
        type=actors,
        help="with --ray: how many, or MIN:MAX; as many as fit if left out",
    )
    parser.add_argument(
        "--ray_cpus",
        type=int,
        default=1,
        help="with --ray: cores of each actor; a GPU where the cluster has some",
    )


def check_sharing(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends where options do not go together."""
    shared = args.claim or args.ray is not None
    for flag, goes, words in (
        ("claim_expiry", shared, "--claim or --ray"),
        ("retry_failed", shared, "--claim or --ray"),
        ("segment_frames", shared, "--claim or --ray"),
        ("claims", shared and is_address(args.output), "--claim or --ray and --output s3://..."),
        ("ray_actors", args.ray is not None, "--ray"),
        ("ray_cpus", args.ray is not None, "--ray"),
    ):
        if not goes and getattr(args, flag) != parser.get_default(flag):
            parser.error(f"--{flag} goes with {words}")
    if args.claim and args.ray is not None:
        parser.error("--claim with --ray: Ray shares the videos, leave --claim out")
    if not shared:
        return
    mode = "--claim" if args.claim else "--ray"
    if is_address(args.output) and args.claims is None:
        parser.error(
            f"{mode} with an address as --output: no claims can be made there; give --claims "
            "FOLDER, a folder that all processes see, or share the videos with --shard"
        )
    if args.shard is not None:
        parser.error(f"--shard with {mode}: the whole list is shared, leave --shard out")
    if args.devices != 1 or args.num_nodes != 1:
        cure = "start one process for each device, each with the same command"
        if args.ray is not None:
            cure = "--ray_actors says how many there are"
        parser.error(f"{mode} with --devices or --num_nodes: {cure}")
    if args.segment_frames is not None:
        if args.segment_frames < 1:
            parser.error(f"--segment_frames {args.segment_frames}: wanted at least 1")
        for other in ("schedule", "seq_nms"):
            if getattr(args, other) != parser.get_default(other):
                parser.error(
                    f"--segment_frames with --{other}: that looks at the whole video, so its "
                    "segments cannot be predicted apart; leave one of them out"
                )
    if args.ray_cpus < 1:
        parser.error(f"--ray_cpus {args.ray_cpus}: wanted at least 1")
    if args.claim_expiry is not None and not 0 < args.claim_expiry < float("inf"):
        parser.error(f"--claim_expiry {args.claim_expiry:g}: wanted more than 0 seconds")


def shard(word: str) -> tuple[int, int]:
    """Reads `i/n`, i from 0 to n - 1."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", word)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{word!r}: wanted i/n with i from 0 to n - 1, as in 0/8")
    return int(match[1]), int(match[2])


def actors(word: str) -> tuple[int, int]:
    """Reads a number, or `MIN:MAX`."""
    match = re.fullmatch(r"([1-9]\d{0,5})(?::([1-9]\d{0,5}))?", word)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if least > most:
        raise argparse.ArgumentTypeError(f"{word!r}: wanted a number, or MIN:MAX such as 1:8")
    return least, most


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
