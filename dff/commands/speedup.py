"""Shows what running your own model on fewer frames would give, on your own video, untrained.

dff speedup video.mp4 --model torchvision:deeplabv3_resnet101
"""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import get_args

from dff.models.names import FlowFrom, FlowName


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints a table for each video, and writes picture, video and page."""
    args = parse(arguments)

    from dff.data.files.folders import check_folder
    from dff.data.transforms.pairs import EvaluationTransform
    from dff.data.video.sources import find_videos
    from dff.inference.per_frame import load_per_frame
    from dff.inference.speedup.measure import measure_speedup
    from dff.inference.speedup.report import table, write_report, write_side_by_side
    from dff.models.schedule import FixedSchedule

    for duration in args.key_durations:
        FixedSchedule(duration)
    if args.frames < 2:
        raise ValueError(f"--frames {args.frames}: wanted two or more")
    check_folder(args.output)
    videos = find_videos(args.videos)
    resizing = EvaluationTransform(args.short_side, args.max_side)
    _tell(f"loading {args.model}")
    model = load_per_frame(
        args.model,
        weights=args.weights,
        random=args.random_weights,
        flow_network=args.flow_network,
        flow_weights=args.flow_weights,
        flow_from=args.flow_from,
        device=args.device,
    )
    found, halves = [], []
    for video in videos:
        opened = video.open()
        frames = [frame.copy() for frame in islice(opened, args.frames)]
        one = measure_speedup(model, video.name, frames, args.key_durations, resizing, _tell)
        print(table(one), flush=True)
        duration = args.compare_at or one.enough or one.rows[min(1, len(one.rows) - 1)].key_duration
        file = f"{video.name}.mp4"
        _tell(f"{video.name}: drawing both side by side")
        args.output.mkdir(parents=True, exist_ok=True)
        fps = opened.fps or 25.0
        write_side_by_side(model, frames, duration, args.output / file, fps, resizing)
        found.append(one)
        halves.append((file, duration))
    write_report(args.output, args.model, found, halves)
    print(f"see {args.output / 'index.html'}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; its help waits for no import."""
    parser = argparse.ArgumentParser(
        prog="dff speedup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", help="video files, folders of frames, globs")
    parser.add_argument(
        "--model",
        required=True,
        help="torchvision:NAME, transformers:NAME, or module:package.file:factory of your own",
    )
    parser.add_argument("--weights", type=Path, help="file of weights, for a model of torchvision")
    parser.add_argument(
        "--random_weights", action="store_true", help="random weights, to see the speed alone"
    )
    parser.add_argument(
        "--flow_network",
        choices=get_args(FlowName),
        help="a classical flow, light, or any flow network with --flow_weights; if left out "
        "dis_fast on a CPU, light on a GPU",
    )
    parser.add_argument(
        "--flow_weights",
        type=Path,
        help="of a flow network, such as a checkpoint of dff fit --config distill",
    )
    parser.add_argument(
        "--flow_from",
        choices=get_args(FlowFrom),
        default="key",
        help="how the flow to a key frame is found: from the key frame, from neighbour to "
        "neighbour, or from the key frame moved to where the frame before saw it",
    )
    parser.add_argument(
        "--key_durations", type=int, nargs="+", default=[1, 2, 3, 5, 10], metavar="L"
    )
    parser.add_argument("--frames", type=int, default=60, help="of each video, from its beginning")
    parser.add_argument("--short_side", type=int, help="show the model frames of this side")
    parser.add_argument("--max_side", type=int, help="with --short_side, most of the longer side")
    parser.add_argument("--compare_at", type=int, help="key duration of the side-by-side video")
    parser.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one")
    parser.add_argument("--output", type=Path, default=Path("speedup"), help="folder to write to")
    return parser.parse_args(arguments)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
