"""What tests and fixtures agree on: the checkout, real data beside it, small drawn streets."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("DFF_SHARED", ROOT.parent / "shared"))
"""`reference`, what the authors' code gave, and `data`; without them their tests are skipped."""
DATA = SHARED / "data"
SMALL = {
    "train_videos": 2,
    "val_videos": 1,
    "frames": 12,
    "val_frames": 12,
    "height": 64,
    "width": 128,
}
