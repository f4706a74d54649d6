"""What `dff fit-schedule` and `dff compare-schedules` ask for: a model, and videos in memory."""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from dff.data.transforms.pairs import EvaluationTransform
from dff.inference.model import Model, load
from dff.inference.per_frame import load_per_frame
from dff.inference.schedules.observation import LabelledFrames
from dff.inference.schedules.video_frames import frames_of_videos
from dff.lit.arguments import Parser
from dff.lit.datamodules.by_name import PairData
from dff.lit.evaluation.labelled_videos import labelled_videos, unlabelled_videos
from dff.models.names import FLOW_FROM_HELP, FlowFrom, ReadyFlowName


def schedule_parser(prog: str, description: str, use: str) -> Parser:
    """The arguments that both have."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument(
        "model",
        type=str,
        help="a checkpoint that dff fit wrote, or a per-frame model: torchvision:NAME, "
        "transformers:NAME, module:package.file:factory",
    )
    parser.add_argument("--videos", nargs="+", help="video files, folders of frames, globs")
    parser.add_subclass_arguments(PairData, "data", required=False, help=use)
    parser.add_argument("--random_weights", action="store_true", help="of a per-frame model")
    parser.add_argument(
        "--flow_network",
        choices=get_args(ReadyFlowName),
        help="one that needs no training, in place of the model's flow network",
    )
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), help=FLOW_FROM_HELP)
    parser.add_argument("--frames", type=int, default=60, help="of each video, at most")
    parser.add_argument("--most_videos", type=int, default=40)
    parser.add_argument("--short_side", type=int, help="show the networks frames of this side")
    parser.add_argument("--longest", type=int, default=20, help="the largest key duration")
    parser.add_argument("--device", type=str, help="cpu, cuda, ...; a GPU where there is one")
    return parser


def asked_model(args: argparse.Namespace) -> Model:
    """The model that the arguments name."""
    if ":" in args.model and not Path(args.model).exists():
        return load_per_frame(
            args.model,
            random=args.random_weights,
            flow_network=args.flow_network,
            flow_from=args.flow_from,
            device=args.device,
        )
    return load(
        args.model,
        device=args.device,
        flow_network=args.flow_network,
        flow_from=args.flow_from,
    )


def asked_videos(
    parser: Parser, args: argparse.Namespace, model: Model, truth: bool
) -> list[LabelledFrames]:
    """The videos that the arguments name.

    Args:
        parser: Of the arguments.
        args: The arguments.
        model: That will see them.
        truth: Whether videos of `--data` are held-out ones with truth, or training ones without.

    Raises:
        ValueError: Neither or both of --videos and --data are given, or a number is out of range.
    """
    data: Any = getattr(args, "data", None)
    if (args.videos is None) == (data is None):
        raise ValueError("which videos: give --videos FILE..., or --data NAME with its settings")
    if args.frames < 2 or args.longest < 2 or args.most_videos < 1:
        raise ValueError(
            f"--frames {args.frames} --longest {args.longest} --most_videos {args.most_videos}: "
            "wanted two frames, a key duration of two and one video, or more"
        )
    if args.videos is not None:
        resizing = EvaluationTransform(args.short_side)
        return frames_of_videos(args.videos, args.frames, resizing, model.device)[
            : args.most_videos
        ]
    module: PairData = parser.instantiate(args).data
    read = labelled_videos if truth else unlabelled_videos
    return read(module, model.device, args.most_videos, args.frames)


def tell(words: str) -> None:
    """Says how far it is."""
    print(words, file=sys.stderr, flush=True)
