"""Writes a trained model as graphs for ONNX Runtime and others, or compiled by AOTInductor.

dff export runs/demo/model.ckpt --format onnx --size 600 1000 --output exported
dff predict exported video.mp4 --runtime onnx
"""

import argparse
from pathlib import Path
from typing import get_args

from dff.models.names import FLOW_FROM_HELP, FlowFrom


def main(arguments: list[str] | None = None) -> None:
    """Exports, compares with the model, and says how far both differ."""
    args = parse(arguments)

    from dff.inference.export.export import Wish, export
    from dff.inference.model import read_model

    model, tasks, settings = read_model(args.checkpoint, args.flow_network, args.flow_from)
    if args.flow_network is not None:
        settings = {**settings, "flow_network": args.flow_network}
    wish = Wish(
        format=args.format,
        size=tuple(args.size),
        dynamic=args.dynamic,
        # by way of the frame before, dff predict finds flow step by step
        steps=args.steps or model.flow_from != "key",
        precision=args.precision,
        warp=args.warp,
        suppression=args.suppression,
        tolerance=args.tolerance,
        video=args.video,
    )
    export(model, tasks, settings, args.output, wish, lambda words: print(words, flush=True))
    for file in sorted(args.output.glob(f"*.{args.format}*")):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    if args.speed:
        from dff.inference.export.comparison.speed import compare_speed

        for times in compare_speed(model, args.output, args.format, wish.size):
            print(times, flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="dff export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="one that dff fit wrote")
    parser.add_argument(
        "--format",
        choices=["onnx", "pt2"],
        default="onnx",
        help="onnx: for ONNX Runtime, TensorRT and others (pip install 'dff[onnx]'); "
        "pt2: compiled for this machine by AOTInductor, for torch in Python or C++",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=[600, 1000],
        metavar=("H", "W"),
        help="height and width of the frames (600 1000)",
    )
    parser.add_argument("--dynamic", action="store_true", help="frames of any size")
    parser.add_argument(
        "--precision",
        choices=["fp32", "fp16", "bf16"],
        default="fp32",
        help="of the convolutions; positions, flow and boxes are float32 in any case",
    )
    parser.add_argument(
        "--steps",
        action="store_true",
        help="write encode, flow, propagate and head too: schedules that look at flow want them; "
        "models whose flow comes by way of the frame before always have them",
    )
    parser.add_argument(
        "--warp",
        choices=["grid_sample", "gather"],
        default="grid_sample",
        help="how features are sampled: by GridSample, or by Gather, which every runtime knows",
    )
    parser.add_argument(
        "--suppression",
        choices=["outside", "inside"],
        default="outside",
        help="of a detector: outside, the graphs give maps; inside, they give the final boxes",
    )
    parser.add_argument(
        "--flow_network", choices=["light"], help="in place of the model's flow network"
    )
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), help=FLOW_FROM_HELP)
    parser.add_argument(
        "--tolerance",
        type=float,
        help="of the largest value, by which an output may differ from the model's own (0.001 in "
        "fp32)",
    )
    parser.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="video or folder of frames that the export is compared with the model on, beside "
        "random frames; drawn streets if left out",
    )
    parser.add_argument(
        "--speed", action="store_true", help="measure the export beside the model in PyTorch"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("exported"), help="folder to write to (exported)"
    )
    return parser.parse_args(arguments)
