"""The three flow networks learn flow, in minutes on two cores, no data and no GPU needed.

Trains each on pairs that are drawn in the manner of Flying Chairs, and evaluates all of them on
held-out ones, beside classical flow. With --root they learn the pairs of a folder by heart instead,
which shows whether a network can fit them at all. All of it is in runs/demo_flow/.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import yaml

from dff import configs
from dff.commands.demos.demo import run
from dff.inference.deploy.precision import fast_precision
from dff.lit.checkpoints import last_checkpoint

CONFIG = "demo_flow_pairs"
STEPS = {"flownet": 700, "flownet_half": 1000, "flownet_inception": 1200}


def main(arguments: list[str] | None = None) -> None:
    """Runs the commands a user would run, one after the other."""
    parser = argparse.ArgumentParser(prog="dff demo-flow", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--steps", type=int, help="of each network")
    parser.add_argument("--root", type=Path, help="pairs to learn by heart, as Flying Chairs has")
    parser.add_argument("--output", type=Path, default=Path("runs/demo_flow"))
    args = parser.parse_args(arguments)
    started = time.perf_counter()
    if args.output.exists() and not any((args.output / name).is_dir() for name in STEPS):
        raise ValueError(f"{args.output} holds no demo: choose a new folder with --output")
    shutil.rmtree(args.output, ignore_errors=True)
    data = []
    # what they are evaluated on is drawn as what they learn from
    drawn = yaml.safe_load(configs.find(CONFIG).read_text())["data"]["init_args"]
    evaluated = [f"--data.{name}={json.dumps(value)}" for name, value in drawn.items()]
    if args.root:
        evaluated = ["--data", "FlyingChairs", "--data.root", str(args.root)]
        evaluated += ["--data.all_pairs", "true"]
        data = [*evaluated, "--data.flip", "0"]
    precision = fast_precision()
    for name in args.networks:
        run(
            *("fit", "--config", CONFIG, "--name", name),
            *("--output", str(args.output), "--model.flow_network", name, *data),
            *("--trainer.max_steps", str(args.steps or STEPS[name])),
            *("--trainer.precision", precision),
        )
    found = [str(last_checkpoint(args.output / name)) for name in args.networks]
    classical = ["dis_fast", "dis_medium"]
    table = ["--output", str(args.output / "evaluation")]
    run("evaluate-flow", *classical, *found, *evaluated, *table)
    minutes = (time.perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes; see {args.output}/evaluation/flows.md")
