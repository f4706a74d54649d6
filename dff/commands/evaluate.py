"""Evaluates a checkpoint on held-out data: mIoU or mAP by gap, and the key schedule's speed.

    dff evaluate runs/cityscapes_r101/version_0/checkpoints/last.ckpt \\
        --data Cityscapes --data.root DIR --ablations true

With --flow_network, a classical flow takes the place of the checkpoint's flow network; with
--schedule, whole videos are run by it and by the fixed schedule with about as many key frames.
"""

from typing import get_args

from dff.commands.schedules.flags import add_schedule
from dff.data.files.folders import check_folder
from dff.inference.deploy.device import check_accelerator
from dff.inference.deploy.precision import usable_precision
from dff.lit.arguments import Parser
from dff.lit.checkpoints import load_model
from dff.lit.datamodules.by_name import PairData
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.evaluation.validation import evaluate
from dff.models.names import FLOW_FROM_HELP, FlowFrom, ReadyFlowName


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables and writes them to the output folder."""
    parser = Parser(prog="dff evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=str, help="a checkpoint that dff fit wrote")
    parser.add_argument(
        "--flow_network",
        choices=get_args(ReadyFlowName),
        help="one that needs no training, in place of the model's flow network",
    )
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), help=FLOW_FROM_HELP)
    parser.add_subclass_arguments(PairData, "data", default={"class_path": "Streets"})
    parser.add_argument("--key_durations", type=list[int], default=[1, 2, 5, 10])
    add_schedule(parser, None, "run it over whole videos too: ")
    parser.add_argument("--ablations", type=bool, default=False, help="copy, scale 1, flow 0")
    parser.add_argument("--output", type=str, default="runs/evaluate")
    parser.add_argument("--accelerator", type=str, default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--num_nodes", type=int, default=1)
    parser.add_argument("--precision", type=str, default="32-true")
    args = parser.parse_args(arguments)
    check_folder(args.output)
    check_accelerator(args.accelerator)
    usable_precision(args.precision, args.accelerator)
    predictor = VideoPredictor(
        args.key_durations,
        args.ablations,
        seconds=5,
        schedule=args.schedule,
        key_duration=args.key_duration,
        frames_per_second=args.frames_per_second,
        threshold=args.threshold,
    )
    module = load_model(args.checkpoint, args.flow_network, flow_from=args.flow_from)
    data = parser.instantiate(args).data
    evaluate(
        module,
        data,
        predictor,
        output=args.output,
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.num_nodes,
        precision=args.precision,
    )
