"""Writes the frames of videos as images, one folder for each video.

dff extract videos/ --output frames --step 5
"""

import argparse
from pathlib import Path


def main(arguments: list[str] | None = None) -> None:
    """Extracts, and says how many frames were written and how many were there already."""
    args = parse(arguments)

    from dff.data.extraction import Extraction, extract
    from dff.data.video.sources import find_videos

    wanted = Extraction(args.step, args.start, args.end, args.names, args.format, args.quality)
    videos = find_videos(args.videos)
    failed = []
    for video in videos:
        done = extract(video, args.output / video.name, wanted)
        there = f", {done.there} were there already" if done.there else ""
        print(f"{video.name}: {done.written} frames written{there}", flush=True)
        if done.error is not None:
            failed.append(done.error)
            print(f"error: {done.error}", flush=True)
    print(f"{len(videos) - len(failed)} of {len(videos)} videos extracted to {args.output}")
    if failed:
        raise SystemExit(1)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    summary, _, example = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="dff extract",
        description=summary,
        epilog=f"{example}\nA run that was stopped goes on where it was when it is started again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", help="video files, folders of them, or globs")
    parser.add_argument("--output", type=Path, default=Path("frames"), help="folder to write to")
    parser.add_argument("--step", type=int, default=1, help="take every n-th frame")
    parser.add_argument("--start", type=int, default=0, help="first frame, counted from 0")
    parser.add_argument("--end", type=int, help="frame to end before; the last one unless given")
    parser.add_argument(
        "--names",
        default="{:06d}",
        help="of the files, in Python's format; the number is that of the frame in the video",
    )
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="png loses nothing")
    parser.add_argument("--quality", type=int, default=95, help="of jpg, 1 to 100")
    return parser.parse_args(arguments)
