"""Recognises cameras, streams and files as they come, with a page, a file or lines of results.

dff live model.ckpt 0 --serve 8080
dff live model.ckpt rtsp://user:password@camera/stream --json - --output seen.mp4
"""

import argparse
import operator
import signal
import sys
from pathlib import Path
from typing import get_args

from dff.models.names import FLOW_FROM_HELP, FlowFrom, FlowName


def main(arguments: list[str] | None = None) -> None:
    """Runs until the sources end, Ctrl-C, or SIGTERM; files are whole then.

    It ends with 1 where no frame was recognised, or fewer of a source than the model refused.
    """
    args = parse(arguments)

    from concurrent.futures import ThreadPoolExecutor

    import torch

    from dff.data.transforms.pairs import EvaluationTransform
    from dff.inference.live.addresses import parse_address
    from dff.inference.live.push import PushSink
    from dff.inference.live.server import LivePage
    from dff.inference.live.session import LiveSession
    from dff.inference.live.sinks import JsonLines, LiveSink, VideoSink, check_files
    from dff.inference.live.source import Keep, LiveSource
    from dff.inference.live.watcher import Watcher
    from dff.inference.model import load
    from dff.models.schedule import Schedule
    from dff.models.schedules.named import named_schedule

    addresses = [parse_address(word) for word in args.sources]
    output, push = (_for_each(given, len(addresses)) for given in (args.output, args.push))
    check_files([Path(file) for file in output], addresses)
    model = load(
        args.checkpoint,
        device=args.device,
        flow_network=args.flow_network,
        flow_from=args.flow_from,
    )

    def schedule(duration: int) -> Schedule:
        return named_schedule(args.schedule, duration)

    resizing = EvaluationTransform(args.short_side, args.max_side)
    beside = None
    if args.async_keys:
        # a core of its own: with more, the feature network would take those of the other frames
        threads = max(1, torch.get_num_threads() - 1)
        torch.set_num_threads(threads)
        beside = ThreadPoolExecutor(1, "key frames", torch.set_num_threads, (threads,))
    sources, watchers, sinks = [], [], []
    lines = JsonLines(args.json) if args.json else None
    for i, address in enumerate(addresses):
        whole = address.kind == "file" and not args.realtime
        keep: Keep = args.keep or ("all" if whole else "newest")
        sources.append(LiveSource(address, keep, args.realtime))
        watchers.append(Watcher(model, schedule(args.key_duration), resizing, beside))
        own: list[LiveSink] = [] if lines is None else [lines]
        own += [VideoSink(Path(file), args.fps) for file in output[i : i + 1]]
        own += [PushSink(target, args.fps) for target in push[i : i + 1]]
        sinks.append(own)
    session = LiveSession(
        sources, watchers, model.tasks, sinks, schedule, args.key_duration, args.score
    )
    if args.serve is not None:
        names = [address.name for address in addresses]
        session.page = LivePage(
            args.host, args.serve, names, session.figures, session.set_key_duration
        )
        print(f"open {session.page.url}", file=sys.stderr, flush=True)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: session.ended.set())
    try:
        session.run(args.seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if session.page is not None:
            session.page.close()
        if beside is not None:
            beside.shutdown(wait=False, cancel_futures=True)
    for found, refused in zip(session.figures()["sources"], session.refused, strict=True):
        print(
            f"{found['name']}: {found['frames']} frames, {found['dropped']} dropped, latency "
            f"{found['latency_p50']:g} ms (median), {found['latency_p95']:g} (95 %), "
            f"{found['latency_max']:g} (largest)"
            + (f"; {refused} not recognised" if refused else "")
            + (f"; {found['said']}" if found["said"] else ""),
            file=sys.stderr,
        )
    counts = [found["frames"] for found in session.figures()["sources"]]
    if not any(counts) or any(map(operator.gt, session.refused, counts)):
        raise SystemExit(1)


def _for_each(given: list[str] | None, count: int) -> list[str]:
    """A value for each source, or none.

    Raises:
        ValueError: There are others than none and one for each.
    """
    if given and len(given) != count:
        raise ValueError(f"{len(given)} outputs for {count} sources: wanted one for each")
    return list(given or ())


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    summary, _, example = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="dff live",
        description=summary,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="one that dff fit wrote")
    parser.add_argument(
        "sources",
        nargs="+",
        help="number of a camera, rtsp:// rtmp:// http(s):// udp:// tcp:// srt:// address, file, "
        "or - for standard input",
    )
    parser.add_argument(
        "--serve", type=int, metavar="PORT", help="show a page with pictures and figures"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address that the page listens on; others than this machine's own need the token that "
        "is printed",
    )
    parser.add_argument("--json", metavar="-|URL", help="a line of results for each frame")
    parser.add_argument("--output", nargs="+", help="an MP4 file for each source")
    parser.add_argument("--push", nargs="+", help="an rtsp:// or rtmp:// address for each source")
    parser.add_argument("--fps", type=float, default=25.0, help="usual rate of --output and --push")
    parser.add_argument(
        "--realtime", action="store_true", help="files come at their own pace, as a camera would"
    )
    parser.add_argument(
        "--keep",
        choices=("newest", "all"),
        help="drop frames for which there was no time, or wait; files wait unless --realtime",
    )
    parser.add_argument(
        "--async_keys",
        action="store_true",
        help="run the feature network beside the other frames: no frame waits for a key frame",
    )
    parser.add_argument("--schedule", default="fixed", help="fixed, change, or a file of its head")
    parser.add_argument("--key_duration", type=int, default=5)
    parser.add_argument("--flow_network", choices=get_args(FlowName), help="one without training")
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), help=FLOW_FROM_HELP)
    parser.add_argument("--short_side", type=int, help="the networks see frames of this side")
    parser.add_argument("--max_side", type=int)
    parser.add_argument("--score", type=float, default=0.5, help="draw no boxes with a lower score")
    # of schedules in other verbs, and of boxes here before
    parser.add_argument("--threshold", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help="end after so many")
    parser.add_argument("--device", help="such as cpu or cuda:1")
    args = parser.parse_args(arguments)
    if args.threshold is not None:
        parser.error("--threshold: the lowest score of drawn boxes is --score")
    if args.seconds is not None and not args.seconds > 0:
        parser.error(f"--seconds {args.seconds:g}: wanted more than 0")
    return args
