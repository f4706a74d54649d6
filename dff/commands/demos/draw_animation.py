"""Draws the moving picture of the README: labels of a key frame, copied and warped along the flow.

dff draw-animation docs/propagation.webp

One street video is drawn. In every l-th frame, the key frame, the true labels are shown. In the
frames between, the left half still shows the labels of the key frame, and the right half shows them
warped along the true flow. No network takes part: this is what propagation can do at best.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dff.data.samples import Snippet
    from dff.data.synthetic.streets.dataset import StreetTruth
    from dff.models.schedule import FixedSchedule

CAPTION = 22
"""Pixels above the pictures, for the words."""


def main(arguments: list[str] | None = None) -> None:
    """Reads the settings from the command line and draws."""
    parser = argparse.ArgumentParser(
        prog="dff draw-animation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the picture to write: .webp or .gif")
    parser.add_argument("--key_duration", type=int, default=10, help="one key frame in every l")
    parser.add_argument("--frames", type=int, default=20, help="of the video")
    parser.add_argument("--speed", type=float, default=1.15, help="of all that moves")
    parser.add_argument("--seed", type=int, default=4, help="chooses the street")
    parser.add_argument("--fps", type=int, default=8, help="of the picture")
    parser.add_argument(
        "--quality", type=int, default=82, help="of WebP, 1 to 100; 101 is lossless"
    )
    args = parser.parse_args(arguments)
    if args.file.suffix not in (".webp", ".gif"):
        raise ValueError(f"{args.file}: wanted a name that ends in .webp or .gif")

    import cv2

    from dff.data.datasets.cityscapes import find_snippets
    from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets, truth_for
    from dff.models.schedule import FixedSchedule

    settings = StreetSettings(
        train_videos=0, val_videos=1, val_frames=args.frames, speed=args.speed, seed=args.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        draw_streets(folder, settings, workers=1)
        (snippet,) = find_snippets(folder, "val")
        truth = truth_for(folder, "val", snippet.name)
        assert truth is not None  # it was drawn with the streets
        pictures = draw(snippet, truth, FixedSchedule(args.key_duration))
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    animation.durations = [1000 // args.fps] * len(pictures)
    args.file.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_WEBP_QUALITY, args.quality]
    if not cv2.imwriteanimation(str(args.file), animation, quality):
        raise OSError(f"writing {args.file} failed")
    print(f"{args.file}: {len(pictures)} frames, {args.file.stat().st_size / 1e3:.0f} KB")


def draw(snippet: "Snippet", truth: "StreetTruth", schedule: "FixedSchedule") -> list[np.ndarray]:
    """Draws each frame twice, under copied labels and under warped ones, (h, w, 3) uint8."""
    import torch

    from dff.data.datasets.cityscapes import PALETTE, read_train_ids
    from dff.data.files.images import read_image
    from dff.inference.results.drawing import overlay
    from dff.models.schedule import Evidence

    pictures = []
    for index, number in enumerate(sorted(snippet.frames)):
        frame = torch.from_numpy(read_image(snippet.frames[number])).permute(2, 0, 1)[None]
        labels = torch.from_numpy(read_train_ids(snippet.masks[number]))[None]
        if schedule.is_key(Evidence(index, 0)):
            key, key_labels = number, labels
            shown = [("key frame", labels)] * 2
        else:
            flow = torch.from_numpy(truth.flow(number, key)[0]).permute(2, 0, 1)[None]
            results = {"copied": key_labels, "warped along the flow": warp_labels(key_labels, flow)}
            shown = [
                (f"{name}: {(result == labels).float().mean():.0%} of the pixels right", result)
                for name, result in results.items()
            ]
        left, right = (
            titled(overlay(frame, result, PALETTE.tolist())[0].numpy(), words)
            for words, result in shown
        )
        pictures.append(np.hstack([left, np.full((len(left), 6, 3), 255, np.uint8), right]))
    return pictures


def warp_labels(labels: "Tensor", flow: "Tensor") -> "Tensor":
    """Labels (1, H, W) of the key frame along a flow (1, 2, H, W) -> (1, H, W) uint8."""
    import torch
    import torch.nn.functional as F

    from dff.data.datasets.cityscapes import CLASSES
    from dff.data.samples import IGNORED
    from dff.models.warp import warp

    ignored = len(CLASSES)  # a class of its own while labels are warped as scores
    scores = F.one_hot(labels.long().clamp(max=ignored), ignored + 1).float()
    share, warped = warp(scores.permute(0, 3, 1, 2), flow).max(1)
    unknown = (warped == ignored) | (share == 0)  # the key frame does not show it
    return warped.to(torch.uint8).masked_fill(unknown, IGNORED)


def titled(picture: np.ndarray, words: str) -> np.ndarray:
    """A picture under a line of words."""
    import cv2

    line = np.full((CAPTION, picture.shape[1], 3), 255, np.uint8)
    place = (4, CAPTION - 7)
    cv2.putText(line, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([line, picture])
