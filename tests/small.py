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
SETTINGS = {
    "seed_everything": 5,
    "model": {
        "class_path": "dff.lit.module.LitDFF",
        "init_args": {
            "feature_network": "resnet18",
            "flow_network": "flownet_half",
            "feature_channels": 16,
            "weights": None,
            "flow_weights": "flow.ckpt",
            "task_layers": 1,
            "lr_factors": {"flow_network": 0.2, "scale_layers.0.bias": 0.1},
        },
    },
    "data": {"init_args": {"gaps": [0, 9], "seed": 3}},
    "video_predictor": {"on_fit_end": True},
}
"""Of a training, as `fit.py --print_config` tells them, as far as variants change them."""
