"""The paper's claim on drawn street videos, in minutes on two cores, no data and no GPU needed.

Trains FlowNet Half on drawn pairs with their true flow, fits Deep Feature Flow from it, measures
speed and accuracy of the key schedule, and predicts a held-out video. All of it is in runs/demo/,
or in runs/demo_detection/ and runs/demo_joint/ for the other tasks.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dff.data.datasets.cityscapes import read_train_ids
from dff.data.files.images import read_image
from dff.data.files.whole_files import write_whole
from dff.data.samples import Snippet
from dff.data.synthetic.streets.dataset import StreetSettings
from dff.data.transforms.unit_range import to_unit_range
from dff.data.video.writer import VideoWriter
from dff.inference.deploy.precision import fast_precision
from dff.lit.checkpoints import last_checkpoint, load_model
from dff.lit.datamodules.datasets import Streets
from dff.lit.visualization.poster import draw_poster

SPEED_FOR_BOXES = 2.4
"""Boxes forgive what pixels do not: at the usual speed, copying them loses little."""
ACCURACY = ("{}_mean", "{}_worst", "copy_{}_mean", "no_scale_{}_mean", "no_flow_{}_mean")
SPEED = ("epe", "epe_zero", "fps", "speedup", "speedup_eq7")


class Demo(NamedTuple):
    """What differs between the demos of the tasks."""

    config: str
    speed: float = StreetSettings.speed
    flags: tuple[str, ...] = ()
    """Of the evaluation."""
    poster: bool = False


DEMOS = {
    "segmentation": Demo("demo", poster=True),
    "detection": Demo("demo_detection", SPEED_FOR_BOXES, ("--data.with_boxes", "true")),
    "joint": Demo("demo_joint", SPEED_FOR_BOXES, ("--data.with_boxes", "true")),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs the commands a user would run, one after the other."""
    parser = argparse.ArgumentParser(prog="dff demo", description=__doc__)
    parser.add_argument("--task", choices=DEMOS, default="segmentation")
    parser.add_argument("--output", type=Path, help="default: runs/ and the name of the config")
    parser.add_argument("--videos", type=int, help="training videos to draw (default: the set's)")
    parser.add_argument("--steps", type=int, nargs=2, help="steps of the flow network and of DFF")
    args = parser.parse_args(arguments)
    demo = DEMOS[args.task]
    config = demo.config
    args.output = args.output or Path("runs") / config
    started = time.perf_counter()
    if args.output.exists() and not (args.output / "demo_flow").is_dir():
        raise ValueError(f"{args.output} holds no demo: choose a new folder with --output")
    shutil.rmtree(args.output, ignore_errors=True)
    settings = ["--output", str(args.output), "--trainer.precision", fast_precision()]
    streets = ["--data.speed", str(demo.speed)]
    if args.videos:
        streets += ["--data.train_videos", str(args.videos)]
    settings += streets
    limits = [["--trainer.max_steps", str(n)] for n in args.steps or ()] or [[], []]
    flow_steps, steps = limits
    run("fit", "--config", "demo_flow", *settings, *flow_steps)
    flow = last_checkpoint(args.output / "demo_flow")
    weights = ["--model.flow_weights", str(flow)]
    run("fit", "--config", config, *settings, *weights, *steps)
    model = last_checkpoint(args.output / config)
    evaluated = args.output / "evaluation" / "version_0"
    run(
        *("evaluate", str(model), "--data", "Streets", *streets, "--data.val_batch_size", "10"),
        *("--data.val_every", "3", "--ablations", "true", "--output", str(evaluated.parent)),
        *demo.flags,
    )
    shutil.copy(model, args.output / "model.ckpt")
    for name in ("video_predictor.json", "accuracy_speed.png"):
        shutil.copy(evaluated / name, args.output / name)
    report = json.loads((evaluated / "video_predictor.json").read_text())
    # Another seed than that of the training set, and longer videos.
    fresh = Streets(train_videos=0, val_videos=2, val_frames=60, draw_seed=1, speed=demo.speed)
    held_out = fresh.snippets("val")
    video = args.output / "held_out.mp4"
    write_video(video, held_out[0])
    run("predict", str(model), str(video), "--output", str(args.output / "predictions"))
    if demo.poster:
        write_poster(args.output / "poster.png", model, held_out[1], report)
    measures = [name for name in ("miou", "map") if f"frame_{name}" in report]
    columns = ["key_duration", *(c.format(m) for m in measures for c in ACCURACY), *SPEED]
    summary = {
        **{f"frame_{name}": report[f"frame_{name}"] for name in measures},
        "rows": [{name: row[name] for name in columns} for row in report["rows"]],
        "seconds_total": time.perf_counter() - started,
    }
    write_whole(args.output / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"{summary['seconds_total'] / 60:.1f} minutes; see {args.output}/summary.json")


def run(verb: str, *arguments: str) -> None:
    """Runs one of the verbs, as a user would."""
    print(f"\n$ dff {verb} {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "dff", verb, *arguments]).returncode
    if code:
        sys.exit(code)


def write_video(file: Path, snippet: Snippet) -> None:
    """A snippet as an mp4."""
    frames = [read_image(snippet.frames[n]) for n in sorted(snippet.frames)]
    with VideoWriter(file, 17, np.shape(frames[0])[:2]) as writer:
        for frame in frames:
            writer.write(frame)


def write_poster(file: Path, model: Path, snippet: Snippet, report: dict[str, Any]) -> None:
    """Ten frames from the middle of a snippet, the first of them the key frame."""
    middle = len(snippet.frames) // 3
    numbers = sorted(snippet.frames)[middle : middle + 10]
    frames = [torch.from_numpy(read_image(snippet.frames[n])) for n in numbers]
    truths = [torch.from_numpy(read_train_ids(snippet.masks[n])) for n in numbers]
    batch = [to_unit_range(frame.permute(2, 0, 1)[None]) for frame in frames]
    draw_poster(load_model(model), batch, truths, file, report)
