"""Measures random-weight networks: FLOPs, milliseconds, and the speed of each key duration.

The networks are rewritten for inference, as in prediction, and frames of both kinds alike.

dff benchmark --feature_network resnet101 --flow_network flownet --size 600 1000
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from dff.models.names import FeatureNetworkName, FlowFrom, FlowName, TaskLayers, TaskName

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def main(arguments: list[str] | None = None) -> None:
    """Prints the table and writes it as JSON where asked."""
    args = parse(arguments)

    import torch

    from dff.data.files.whole_files import write_whole
    from dff.inference.deploy.deployment import deploy
    from dff.inference.deploy.device import usable_device
    from dff.inference.deploy.memory import keep_memory
    from dff.inference.deploy.precision import usable_precision
    from dff.inference.speed import (
        measure_decision,
        measure_intervals,
        measure_parts,
        measure_peak,
        measure_speed,
    )
    from dff.inference.tasks.choice import tasks_of
    from dff.lit.evaluation.predictor import schedule_rows, table
    from dff.models import build
    from dff.models.analysis.complexity import complexity
    from dff.models.schedule import FixedSchedule
    from dff.models.schedules.adaptive import AdaptiveSchedule
    from dff.models.schedules.named import FIXED, named_need

    for duration in args.key_durations:
        FixedSchedule(duration)
    if args.schedule == FIXED:
        raise ValueError(
            "--schedule fixed: it looks at nothing, and is measured in any case; wanted change, or "
            "a file that dff fit-schedule wrote"
        )
    asked = None if args.schedule is None else AdaptiveSchedule(named_need(args.schedule))
    if min(args.size) < 64:
        raise ValueError(f"size {args.size[0]} {args.size[1]}: each side wants at least 64 pixels")

    if args.keep_memory:
        keep_memory()
    device = usable_device(args.device)
    if args.precision == "bf16":
        usable_precision("bf16", device.type)
    started = time.perf_counter()

    def tell(stage: str) -> None:
        print(f"[{time.perf_counter() - started:.0f} s] {stage}", file=sys.stderr, flush=True)

    features = build.whole_feature_network(
        {"feature_network": args.feature_network, "feature_channels": args.feature_channels}
    )
    tasks = list(tasks_of({"heads": {args.task: 1.0}}).values())
    plain = build.deep_feature_flow(
        features, args.flow_network, tasks, args.task_layers, args.flow_from
    ).eval()
    tell("counting FLOPs")
    cost = complexity(plain, tuple(args.size))
    dtype = getattr(torch, PRECISIONS[args.precision])
    durations = sorted({1, *args.key_durations})
    frames = [torch.rand(1, 3, *args.size, device=device) for _ in range(max(durations))]
    plain_ms = None
    if args.against_plain:
        last = max(durations)
        tell("measuring the same networks, not rewritten")
        speed = measure_speed(plain.to(device), frames, [last], args.rounds)[0]
        plain_ms = {"ms_key": speed.ms_key, "ms_current": speed.ms_current}
    tell("rewriting the networks for inference")
    model = deploy(plain.to(device).to(memory_format=torch.channels_last), dtype, args.compile)
    frames = [frame.contiguous(memory_format=torch.channels_last) for frame in frames]
    tell(f"measuring frame by frame, {args.rounds} rounds at least")
    speeds = measure_speed(model, frames, durations, args.rounds, seconds=5)
    report = schedule_rows(speeds, cost) | {"size": args.size, "precision": args.precision}
    tell("measuring whole intervals")
    together = measure_intervals(model, frames, durations, args.rounds, seconds=5)
    for row, fps in zip(report["rows"], together, strict=True):
        gained = fps / together[0]
        row |= {"fps_together": fps, "speedup_together": gained}
        row["ratio_together"] = gained / row["speedup_eq7"]
    print(table(report))
    tell("measuring the parts")
    parts = measure_parts(model, frames * 2)
    print("ms of the parts: " + "; ".join(f"{name} {ms:.1f}" for name, ms in parts.items()))
    decision = None
    if asked is not None:
        tell(f"measuring frames with the evidence of {args.schedule}")
        decision = asdict(measure_decision(model, frames[0], asked, args.rounds, seconds=5))
        print(
            "schedule {schedule}: ms non-key {ms_current:.1f} (fixed: {ms_current_fixed:.1f}); ms "
            "key, after its flow was found, {ms_key:.1f} (fixed: {ms_key_fixed:.1f})".format(
                schedule=args.schedule, **decision
            )
        )
    tell("measuring a matrix product")
    peak = measure_peak(device, dtype)
    achieved = {}
    for kind, flops in (("key", cost.key_frame), ("current", cost.current_frame)):
        ms = report[f"ms_{kind}"]
        if ms is None:  # at key duration 1 there are key frames alone
            continue
        achieved[kind] = 1e3 * flops / ms
        share = f"{achieved[kind] / 1e9:.0f} GFLOP/s, {achieved[kind] / peak:.0%} of a matrix"
        print(f"{kind} frame: {share} product's {peak / 1e9:.0f}")
        if plain_ms:
            before = plain_ms[f"ms_{kind}"]
            print(f"    plain fp32 (NCHW, eager) {before:.1f} ms: {before / ms:.2f} times as fast")
    report |= {"parts": parts, "peak": peak, "achieved": achieved, "plain": plain_ms}
    report |= {"schedule": decision}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.json, json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; its help and its mistakes wait for no import."""
    parser = argparse.ArgumentParser(
        prog="dff benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    networks = ", ".join(get_args(FeatureNetworkName))
    parser.add_argument("--feature_network", default="resnet101", help=f"{networks}, or timm:NAME")
    parser.add_argument("--flow_network", choices=get_args(FlowName), default="flownet")
    parser.add_argument("--flow_from", choices=get_args(FlowFrom), default="key")
    parser.add_argument("--feature_channels", type=int, default=1024)
    parser.add_argument("--task", choices=get_args(TaskName), default="segmentation")
    parser.add_argument("--task_layers", type=int, choices=get_args(TaskLayers), default=1)
    parser.add_argument("--size", type=int, nargs=2, default=[600, 1000], metavar=("H", "W"))
    parser.add_argument("--key_durations", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument(
        "--schedule",
        help="change, or a file that dff fit-schedule wrote: also what frames of both kinds cost "
        "with all that it looks at",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--device", help="default: cuda where there is one, or cpu")
    parser.add_argument("--rounds", type=int, default=3, help="at least; the median counts")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument(
        "--against_plain", action="store_true", help="beside the same networks, not rewritten"
    )
    parser.add_argument(
        "--keep_memory", action="store_true", help="keep freed memory, as dff predict does (glibc)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args(arguments)
