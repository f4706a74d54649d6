"""Evaluates flow functions on pairs with true flow: end-point error, by speed, and time.

    dff evaluate-flow dis_fast runs/my_flow/version_0/checkpoints/last.ckpt \\
        --data FlyingChairs --data.root DIR

Each flow is taken as Deep Feature Flow uses it, at stride 16. Zero flow stands beside them, and the
true flow at that stride, which no flow can be better than.
"""

import json
from pathlib import Path

import torch
from tqdm import tqdm

from dff.data.files.folders import check_folder
from dff.data.files.whole_files import write_whole
from dff.lit.arguments import Parser
from dff.lit.datamodules.by_name import PairData
from dff.lit.datamodules.flow_data import FlowData
from dff.lit.evaluation.flow_comparison import compare_flows, comparison_table, flow_function, title


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes it with its figures to the output folder."""
    parser = Parser(prog="dff evaluate-flow", description=__doc__.splitlines()[0])
    parser.add_argument(
        "flows", type=str, nargs="+", help="classical flows by name, or checkpoints of dff fit"
    )
    kinds = (FlowData, PairData)
    parser.add_subclass_arguments(kinds, "data", default={"class_path": "DrawnPairs"})
    parser.add_argument("--gaps", type=list[int], default=[1], help="of videos; pairs have gap 1")
    parser.add_argument("--output", type=Path, default=Path("runs/evaluate_flow"))
    parser.add_argument("--threads", type=int, help="of torch; as many as there are cores if None")
    args = parser.parse_args(arguments)
    check_folder(args.output)
    if args.threads:
        torch.set_num_threads(args.threads)
    flows = {"zero": flow_function("zero")}
    for name in args.flows:
        called = title(name)
        flows[name if called in flows else called] = flow_function(name)
    data = parser.instantiate(args).data
    pairs = tqdm(data.evaluation_pairs(args.gaps, with_flow=True), desc="pairs", disable=None)
    report = compare_flows(flows, (data.on_after_batch_transfer(b, 0) for b in pairs))
    text = comparison_table(report)
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    write_whole(args.output / "flows.md", text + "\n")
    write_whole(args.output / "flows.json", json.dumps(report, indent=2) + "\n")
