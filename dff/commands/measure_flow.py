"""Measures the flow inside a model, by gap: its error, and how well it carries features.

    dff measure-flow runs/demo/demo/version_0/checkpoints/last.ckpt \\
        --before runs/demo/demo_flow/version_0/checkpoints/last.ckpt --data Streets

With --before, the same model once more with its flow network as it was before joint training.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dff.data.files.folders import check_folder
from dff.data.files.whole_files import write_whole
from dff.inference.deploy.device import usable_device
from dff.lit.arguments import Parser
from dff.lit.checkpoints import load_model
from dff.lit.datamodules.by_name import PairData
from dff.lit.evaluation.flow_quality import FlowQuality
from dff.lit.evaluation.flow_report import flow_network_before, flow_table, measure_flow, plot_flow


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes it with its figures and a picture to the output folder."""
    parser = Parser(prog="dff measure-flow", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=str, help="a checkpoint that dff fit wrote")
    parser.add_argument(
        "--before",
        type=str,
        help="weights before joint training: a checkpoint of LitFlow or LitDFF",
    )
    parser.add_subclass_arguments(PairData, "data", default={"class_path": "Streets"})
    parser.add_argument("--gaps", type=list[int], default=[1, 2, 4, 9])
    parser.add_argument("--border", type=int, default=8, help="pixels beside a change of class")
    parser.add_argument("--output", type=Path, default=Path("runs/measure_flow"))
    parser.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one")
    args = parser.parse_args(arguments)
    FlowQuality(args.gaps, border=args.border)  # says what is wrong with them before all else
    check_folder(args.output)
    device = usable_device(args.device)
    module = load_model(args.checkpoint).to(device)
    before = None
    if args.before:
        before, used = flow_network_before(module, args.before)
        before.to(device)
        print(f"before: {used}")
    data = parser.instantiate(args).data
    batches = batches_of(data, args.gaps, device)
    report = measure_flow(module, batches, args.gaps, before, args.border)
    text = flow_table(report)
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    write_whole(args.output / "flow_quality.md", text + "\n")
    files = {"checkpoint": args.checkpoint, "before": args.before}
    figures = json.dumps(files | report, indent=2)
    write_whole(args.output / "flow_quality.json", figures + "\n")
    plot_flow(report, args.output / "flow_quality.png")


def batches_of(data: PairData, gaps: list[int], device: torch.device) -> Iterator[dict[str, Any]]:
    """Held-out pairs at each gap with their true flow, on the device."""
    for batch in tqdm(data.evaluation_pairs(gaps, with_flow=True), desc="pairs", disable=None):
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        yield data.on_after_batch_transfer(moved, 0)
