"""Several flow functions over the same pairs with true flow: their errors and their times."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from dff.lit.checkpoints import load_flow_network
from dff.lit.flow import cell_means
from dff.lit.metrics.gaps import (
    SPEEDS,
    GapEndPointError,
    SpeedEndPointError,
    dense_flow,
    flow_of_cells,
)
from dff.models.contracts import STRIDE
from dff.models.names import ReadyFlowName
from dff.models.weights.files import read_torch
from dff.models.weights.ready import ready_flow_network

GAP = 0
"""All pairs are counted together."""

_ERRORS = ("epe", "epe_cells", *(f"epe_{speed}" for speed in SPEEDS))


def flow_function(name: str) -> nn.Module:
    """A flow function by the name of one that needs no training, or from a file.

    Args:
        name: Of `ReadyFlowName`, or a checkpoint of LitFlow or LitDFF.

    Raises:
        FileNotFoundError: It is neither a name nor a file.
        ValueError: The file is no checkpoint with a flow network.
    """
    known = get_args(ReadyFlowName)
    if name in known:
        return ready_flow_network(name)
    file = Path(name)
    if not file.is_file():
        raise FileNotFoundError(
            f"{name} is neither a checkpoint nor a flow: want a file of dff fit, or one "
            f"of {', '.join(known)}"
        )
    cure = "give one that dff fit wrote"
    saved = read_torch(file, "a checkpoint", cure)
    try:
        kind = saved["hyper_parameters"]["flow_network"]
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{file} is no checkpoint that tells its flow network: {cure}") from error
    return load_flow_network(kind, file)[0]


def title(name: str) -> str:
    """What a table calls a flow: a name as it is, a checkpoint of a run by the run's name."""
    path = Path(name)
    return path.parents[2].name if path.parent.name == "checkpoints" else name


def at_stride_16(flow: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The true flow as feature pixels can hold it: the mean over cells of 16 x 16 image pixels.

    Args:
        flow: (B, 2, H, W) in image pixels.
        known: (B, H, W) bool.

    Returns:
        (B, 2, h, w) in image pixels, 0 where a cell knows none; (B, h, w) bool, whether it does.
    """
    total, share = cell_means(flow, known.float(), cell=STRIDE)
    return total / share.clamp(min=1e-6), share[:, 0] > 0


@torch.inference_mode()
def compare_flows(
    flows: Mapping[str, nn.Module], batches: Iterable[dict[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Measures flow functions over pairs with true flow.

    Args:
        flows: Name -> `FlowNetwork`; what counts is its flow at stride 16, as features feel it.
        batches: Of pairs with true flow, frames in [0, 1].

    Returns:
        Name -> `epe`, by speed `epe_s0_10`, `epe_s10_40`, `epe_s40` (None where nothing is so
        fast) over the pixels, `epe_cells` over the feature pixels, all in image pixels; `seconds` a
        pair. "true" is the true flow at stride 16: its error over the pixels is what the stride
        costs, and it has none over the feature pixels.
    """
    names = [*flows, "true"]
    overall = {name: GapEndPointError([GAP]) for name in names}
    by_cell = {name: GapEndPointError([GAP]) for name in names}
    by_speed = {name: SpeedEndPointError() for name in names}
    seconds, pairs = dict.fromkeys(names, 0.0), 0
    for batch in batches:
        truth, known = batch["flow"], batch["flow_known"]
        sizes = batch["current"].shape[-2:], truth.shape[-2:]
        gap = torch.full((len(truth),), GAP)
        cells, cells_known = at_stride_16(truth, known)
        for name in names:
            start = perf_counter()
            flow = cells
            if name != "true":
                found = flows[name](batch["current"], batch["key"]).field
                flow = flow_of_cells(found, cast(int, flows[name].stride), sizes[0])
            seconds[name] += perf_counter() - start
            by_cell[name].update(flow.float(), cells, cells_known, gap)
            pixels = dense_flow(flow, *sizes)
            overall[name].update(pixels, truth, known, gap)
            by_speed[name].update(pixels, truth, known)
        pairs += len(truth)
    result = {}
    for name in names:
        errors = overall[name].compute()[0, 0], by_cell[name].compute()[0, 0]
        values = zip(_ERRORS, [*errors, *by_speed[name].compute()], strict=True)
        row = {key: None if value.isnan() else value.item() for key, value in values}
        result[name] = {**row, "seconds": seconds[name] / max(pairs, 1)}
    return result


def comparison_table(report: Mapping[str, Mapping[str, float | None]]) -> str:
    """The report of `compare_flows` as a Markdown table."""
    lines = [
        f"| flow | EPE px | of cells | {' | '.join(SPEEDS)} | ms a pair |",
        f"|---|{'---|' * (len(_ERRORS) + 1)}",
    ]
    for name, row in report.items():
        cells = ["-" if row[key] is None else f"{row[key]:.2f}" for key in _ERRORS]
        seconds = None if name == "true" else row["seconds"]
        time = "-" if seconds is None else f"{1000 * seconds:.0f}"
        called = {"zero": "zero flow", "true": "true flow at stride 16"}.get(name, name)
        lines.append(f"| {called} | {' | '.join(cells)} | {time} |")
    return "\n".join(lines)
