"""What tests and fixtures agree on: the checkout, and a small set of drawn streets."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = {
    "train_videos": 2,
    "val_videos": 1,
    "frames": 12,
    "val_frames": 12,
    "height": 64,
    "width": 128,
}
