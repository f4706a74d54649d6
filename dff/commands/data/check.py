"""Says what a folder of labelled data holds, what is wrong with it, and how to train on it.

dff check my_data
"""

import argparse
import shlex
import sys
from pathlib import Path

FORMATS = ("coco", "cvat", "yolo", "mot", "voc", "masks", "mask_folders")
KINDS = ("numbers", "binary", "colours")


def main(arguments: list[str] | None = None) -> None:
    """Prints the report, and writes it as a page with pictures."""
    args = parse(arguments)

    from dff.data.annotations.looking import read
    from dff.data.files.folders import check_folder
    from dff.inference.own_data.inspection import inspect
    from dff.inference.own_data.page import as_text, write_page
    from dff.inference.own_data.settings import settings_of

    check_folder(args.output)
    splits = read(args.root, args.format, args.with_masks, args.masks)
    inspection = inspect(splits)
    stopped = any(problem.stops for problem in inspection.findings)
    chosen = [] if stopped else settings_of(vars(args), batch_size=4)[1]
    words = ["dff", "fit", "--data", "Auto", "--data.root", str(args.root)]
    for name in ("format", "masks"):
        if getattr(args, name) is not None:
            words += [f"--data.{name}", getattr(args, name)]
    command = shlex.join([*words, *(["--data.with_masks", "true"] if args.with_masks else [])])
    print(as_text(inspection, chosen, command), flush=True)
    page = write_page(args.output, inspection, chosen, command, f"{args.root}")
    print(f"see {page}")
    if stopped:
        sys.exit(1)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    summary, _, example = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="dff check",
        description=summary,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", type=Path, help="folder of the data")
    parser.add_argument("--format", choices=FORMATS, help="found out unless it is given")
    parser.add_argument(
        "--with_masks",
        action="store_true",
        help="draw masks of outlines too, for a segmentation beside the detection",
    )
    parser.add_argument("--masks", choices=KINDS, help="what the values of mask files mean")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/check"), help="folder of the page"
    )
    return parser.parse_args(arguments)
