"""Scores detections of the ImageNet VID validation set as the authors' code does.

    dff predict model.ckpt data/ILSVRC2015/Data/VID/val --key_duration 10 --output out
    dff score-detections out --list data/ILSVRC2015/ImageSets/VID_val_videos.txt \\
        --boxes ILSVRC2015_vid_validation_ground_truth_whole.mat \\
        --motion vid_groundtruth_motion_iou.mat

DETECTIONS is the folder that dff predict wrote, or one text file of any detector in the official
format: number of the frame from 1 over the whole set, class from 1, score, x1, y1, x2, y2 a line.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from dff.inference.accuracy.average_precision import (
    GROUPS,
    BoxMetric,
    Detections,
    Truth,
    average_precision,
    class_mean,
)
from dff.inference.accuracy.seq_nms import seq_nms

if TYPE_CHECKING:
    from dff.data.datasets.imagenet_vid.ground_truth import VidGroundTruth


def main(arguments: list[str] | None = None) -> None:
    """Prints mAP, mAP of each motion group, and AP of each class."""
    args = parse(arguments)

    from dff.data.datasets.imagenet_vid.ground_truth import read_vid_ground_truth
    from dff.data.datasets.imagenet_vid.snippets import CLASSES

    if not args.detections.is_dir():
        if args.seq_nms:
            raise ValueError("--seq_nms: wanted a folder of dff predict, which tells videos apart")
        rows = read_rows(args.detections)
    elif args.list:
        rows = read_folder(args.detections, args.list, seq_nms if args.seq_nms else None)
    else:
        raise ValueError(f"{args.detections} is a folder: name VID_val_videos.txt with --list")
    truth = read_vid_ground_truth(args.boxes, args.motion)
    detections = as_detections(rows, truth, args.detections)
    boxes = Truth(truth.frame, truth.label, truth.box, truth.motion)
    ap, by_motion = average_precision(boxes, detections, len(CLASSES), args.protocol)
    print(f"{len(truth.frames)} frames, {len(truth.box)} boxes, {len(detections.box)} detections")
    for name, value in zip(CLASSES, ap.tolist(), strict=True):
        print(f"{name:14} {value:.4f}")
    print(f"{'mAP':14} {class_mean(ap):.4f}  ({args.protocol})")
    for group in GROUPS if by_motion else ():
        print(f"{'mAP ' + group:14} {class_mean(by_motion[group]):.4f}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; its help and its mistakes wait for no import."""
    parser = argparse.ArgumentParser(
        prog="dff score-detections",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("detections", type=Path, help="a folder of dff predict, or a text file")
    parser.add_argument("--boxes", type=Path, required=True, help="the ground truth, .mat")
    parser.add_argument("--motion", type=Path, help="motion IoU of its boxes, .mat, for groups")
    parser.add_argument("--list", type=Path, help="VID_val_videos.txt, for a folder")
    parser.add_argument(
        "--seq_nms", action="store_true", help="link the detections of each video, and rescore them"
    )
    parser.add_argument("--protocol", choices=get_args(BoxMetric), default="vid")
    return parser.parse_args(arguments)


def read_rows(path: Path) -> np.ndarray:
    """Reads frame, class, score, x1, y1, x2, y2 of each line, (M, 7) float64.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: A line is none of such a file.
    """
    from dff.data.samples import SampleError

    if not path.is_file():
        raise FileNotFoundError(f"no detections at {path}: give a file, or a folder of dff predict")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file is a video without detections
            rows = np.loadtxt(path, np.float64, comments=None, ndmin=2, encoding="utf-8")
    except ValueError as error:
        raise SampleError(f"{path} is no list of detections ({error}): {_WANTED}") from None
    if not rows.size:
        return np.zeros((0, 7))
    if rows.shape[1] != 7 or not np.isfinite(rows).all():
        what = f"{rows.shape[1]} columns" if rows.shape[1] != 7 else "numbers that are not finite"
        raise SampleError(f"{path} has {what}: {_WANTED}")
    return rows


def read_folder(
    folder: Path, videos: Path, rescore: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Reads NAME.boxes.txt of each listed video, with the official numbers of the frames.

    Args:
        folder: Output of dff predict.
        videos: List of `val/NAME first 0 length`; `first` is a video's first number.
        rescore: Makes other rows of those of a video.

    Raises:
        FileNotFoundError: The list or a video's detections are missing.
        SampleError: A line of the list or of a video is none of such a file.
    """
    from dff.data.samples import SampleError

    if not videos.is_file():
        raise FileNotFoundError(f"no list {videos}: VID_val_videos.txt is in the authors' code")
    parts = []
    for line in filter(str.strip, videos.read_text(encoding="utf-8-sig").splitlines()):
        try:
            name, first, _, length = line.split()
            first_number, frames = int(first), int(length)
        except ValueError:
            raise SampleError(f"{videos} has the line {line[:80]!r}: {_LISTED}") from None
        path = folder / f"{name.rpartition('/')[2]}.boxes.txt"
        if not path.is_file():
            raise FileNotFoundError(f"no {path}, though {videos} lists {name}: predict it first")
        rows = read_rows(path)
        if len(rows) and not 0 <= rows[:, 0].min() <= rows[:, 0].max() < frames:
            raise SampleError(
                f"{path} has frames {rows[:, 0].min():g} to {rows[:, 0].max():g}, and {videos} "
                f"gives {name} {frames} frames: predict that video again, whole"
            )
        if rescore is not None:
            rows = rescore(rows)
        rows[:, 0] += first_number
        parts.append(rows)
    return np.concatenate([np.zeros((0, 7)), *parts])


def as_detections(rows: np.ndarray, truth: "VidGroundTruth", source: Path) -> Detections:
    """Checks frames and classes, and counts classes from 0.

    Raises:
        SampleError: A frame or a class is none of the ground truth.
    """
    from dff.data.datasets.imagenet_vid.snippets import CLASSES
    from dff.data.samples import SampleError

    frame, label = rows[:, 0], rows[:, 1] - 1
    for what, values, known in (
        ("frame", frame, truth.frames),
        ("class", label + 1, np.arange(1, len(CLASSES) + 1)),
    ):
        if (strange := ~np.isin(values, known)).any():
            raise SampleError(
                f"{source} has {what} {values[strange][0]:g} in {strange.sum()} rows: want "
                f"{known.min()} to {known.max()} of the ground truth, counted from 1"
            )
    return Detections(frame.astype(np.int64), label.astype(np.int32), rows[:, 2], rows[:, 3:])


_WANTED = "want frame, class, score, x1, y1, x2, y2 in each line, with spaces between"
_LISTED = "want 'val/NAME first 0 length'; copy it again from the authors' code"
