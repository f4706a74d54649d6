"""The paper's claim on drawn street videos, in minutes on two cores, no data and no GPU needed.

Trains FlowNet Half on drawn pairs with their true flow, fits Deep Feature Flow from it, measures
speed and accuracy of the key schedule, and predicts a held-out video. All of it is in runs/demo/,
or in runs/demo_detection/ and runs/demo_joint/ for the other tasks.
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from dff.commands.demos.stages import Stage, Stages, steps_done
from dff.configs import find
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
from dff.lit.evaluation.predictor import table
from dff.lit.visualization.poster import draw_poster

SPEED_FOR_BOXES = 2.4
"""Boxes forgive what pixels do not: at the usual speed, copying them loses little."""
ACCURACY = ("{}_mean", "{}_worst", "copy_{}_mean", "no_scale_{}_mean", "no_flow_{}_mean")
SPEED = ("epe", "epe_zero", "fps", "speedup", "speedup_eq7")


class Demo(NamedTuple):
    """What differs between the demos of the tasks."""

    config: str
    flow_config: str = "demo_flow"
    streets: StreetSettings = StreetSettings()
    flags: tuple[str, ...] = ()
    """Of the evaluation."""
    poster: bool = False


SMALL = StreetSettings(train_videos=120, height=128, width=256, speed=1.9)
BOXES = StreetSettings(speed=SPEED_FOR_BOXES)
DEMOS = {
    "segmentation": Demo("demo", "demo_small_flow", SMALL, poster=True),
    "detection": Demo("demo_detection", streets=BOXES, flags=("--data.with_boxes", "true")),
    "joint": Demo("demo_joint", streets=BOXES, flags=("--data.with_boxes", "true")),
}
DRAWING = (
    "import json, sys; from dff.data.synthetic.streets.dataset import *; "
    "print(streets_folder(StreetSettings(**json.loads(sys.argv[1]))))"
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the commands a user would run, one after the other."""
    parser = argparse.ArgumentParser(prog="dff demo", description=__doc__)
    parser.add_argument("--task", choices=DEMOS, default="segmentation")
    parser.add_argument("--output", type=Path, help="default: runs/ and the name of the config")
    parser.add_argument("--videos", type=int, help="training videos to draw (default: the set's)")
    parser.add_argument("--steps", type=int, nargs=2, help="steps of the flow network and of DFF")
    args = parser.parse_args(arguments)
    demo = DEMOS[args.task]
    output: Path = args.output or Path("runs") / demo.config
    started = time.perf_counter()
    if output.exists() and not any((output / d.flow_config).is_dir() for d in DEMOS.values()):
        raise ValueError(f"{output} holds no demo: choose a new folder with --output")
    shutil.rmtree(output, ignore_errors=True)
    drawn = demo.streets
    if args.videos:
        drawn = dataclasses.replace(drawn, train_videos=args.videos)
    steps = args.steps or [_steps(demo.flow_config), _steps(demo.config)]
    Stages(stages(demo, output, drawn, steps), output / "demo.log").run()
    run = output / "evaluation" / "version_0"
    model = last_checkpoint(output / demo.config)
    for name in ("video_predictor.json", "accuracy_speed.png"):
        shutil.copy(run / name, output / name)
    report = json.loads((run / "video_predictor.json").read_text())
    print(table(report, [task.measure for task in load_model(model).tasks.values()]))
    shutil.copy(model, output / "model.ckpt")
    # Another seed than that of the training set, and longer videos.
    fresh = dataclasses.replace(drawn, train_videos=0, val_videos=2, val_frames=60, seed=1)
    held_out = Streets(**_settings(fresh)).snippets("val")
    video = output / "held_out.mp4"
    write_video(video, held_out[0])
    predict = dff("predict", str(model), str(video), "--output", str(output / "predictions"))
    Stages([Stage("predicting a held-out video", 1.0, predict)], output / "demo.log").run()
    if demo.poster:
        write_poster(output / "poster.png", model, held_out[1], report)
    measures = [name for name in ("miou", "map") if f"frame_{name}" in report]
    columns = ["key_duration", *(c.format(m) for m in measures for c in ACCURACY), *SPEED]
    summary = {
        **{f"frame_{name}": report[f"frame_{name}"] for name in measures},
        "rows": [{name: row[name] for name in columns} for row in report["rows"]],
        "seconds_total": time.perf_counter() - started,
    }
    write_whole(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"{summary['seconds_total'] / 60:.1f} minutes; see {output}/summary.json")


def stages(demo: Demo, output: Path, drawn: StreetSettings, steps: Sequence[int]) -> list[Stage]:
    """Drawing, both trainings and the evaluation.

    Args:
        demo: Of which task.
        output: Folder of the demo.
        drawn: The streets.
        steps: Of the flow network, and of Deep Feature Flow.
    """
    streets = [word for k, v in _settings(drawn).items() for word in (f"--data.{k}", str(v))]
    shared = ["--output", str(output), "--trainer.precision", fast_precision(), *streets]
    flow_run, run = output / demo.flow_config, output / demo.config
    weights, model = (str(folder / "version_0/checkpoints/last.ckpt") for folder in (flow_run, run))
    return [
        Stage(
            "drawing street videos",
            0.08,
            ["-c", DRAWING, json.dumps(dataclasses.asdict(drawn))],
        ),
        Stage(
            "training the flow network",
            0.38,
            dff(
                *("fit", "--config", demo.flow_config, *shared),
                *("--trainer.max_steps", str(steps[0])),
            ),
            steps_done(flow_run, steps[0]),
        ),
        Stage(
            "training Deep Feature Flow",
            0.42,
            dff(
                *("fit", "--config", demo.config, *shared, "--model.flow_weights", weights),
                *("--trainer.max_steps", str(steps[1])),
            ),
            steps_done(run, steps[1]),
        ),
        Stage(
            "measuring accuracy and speed",
            0.12,
            dff(
                *("evaluate", model, "--data", "Streets", *streets, "--data.val_batch_size", "10"),
                *("--data.val_every", "3", "--ablations", "true"),
                *("--output", str(output / "evaluation"), *demo.flags),
            ),
        ),
    ]


def dff(*words: str) -> list[str]:
    """The words of a verb, for the interpreter."""
    return ["-m", "dff", *words]


def _settings(drawn: StreetSettings) -> dict[str, Any]:
    """Settings of the drawing as those of the data module, which has a seed of its own."""
    settings = dataclasses.asdict(drawn)
    return {("draw_seed" if name == "seed" else name): v for name, v in settings.items()}


def _steps(config: str) -> int:
    steps: int = yaml.safe_load(find(config).read_text())["trainer"]["max_steps"]
    return steps


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
