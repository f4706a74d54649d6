"""Accuracy of the fixed key schedule (paper, Sec. 5), in every mode of propagation."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dff.inference.key_frame import encode_keys, flow_of_pairs
from dff.inference.recognizer import size_of
from dff.lit.datamodules.pair_data import PairData
from dff.lit.metrics.accuracy import GapAccuracy, truth_size
from dff.lit.metrics.gaps import GapEndPointError, dense_flow, flow_of_cells
from dff.lit.module import LitDFF
from dff.models.dff import Propagation, chosen_rows


@torch.inference_mode()
def schedule_accuracy(
    module: LitDFF,
    batches: Iterable[dict[str, Any]],
    gaps: Sequence[int],
    modes: Sequence[Propagation] = ("full",),
    with_flow: bool = False,
) -> dict[str, Any]:
    """Accuracy of a model by gap.

    For one mode and no flow, the model's own `forward` gives the features, whatever it is;
    otherwise its flow is found once for all modes.

    Args:
        module: In eval mode.
        batches: Of pairs, on the module's device, frames in [0, 1]; see `batches_on`.
        gaps: Of the pairs.
        modes: How features travel. "full" is the method, the others leave a part out.
        with_flow: Also the end-point error; the pairs then have `flow` and `flow_known`.

    Returns:
        For the measure of each task (`miou`, `map`) the modes, each a list by gap, and the groups
        of "full" where anything is known of them; `epe` and `epe_zero` by gap, in image pixels. NaN
        where nothing was counted. `map_runs` is the mAP of one run over whole snippets from their
        first frame on, ImageNet VID's own protocol, for the key durations 1, 2, .. that the gaps
        allow; NaN where the labelled frames lie at some offsets twice as often as at others, for it
        would be theirs.
    """
    gaps, model = list(gaps), module.model
    durations = [n for n in range(1, len(gaps) + 1) if set(range(n)) <= set(gaps)]
    with_runs = {name: task for name, task in module.tasks.items() if task.measure.over_runs}
    runs = GapAccuracy(with_runs, durations).to(module.device)
    numbers = torch.arange(len(durations), device=module.device)
    offsets = torch.zeros_like(numbers).repeat(len(durations), 1)
    accuracy = {mode: GapAccuracy(module.tasks, gaps).to(module.device) for mode in modes}
    errors = GapEndPointError(gaps).to(module.device)
    for batch in batches:
        key, current, gap = batch["key"], batch["current"], batch["gap"]
        frame, size = size_of(current), truth_size(batch)
        every = torch.ones_like(gap, dtype=torch.bool)
        shared = len(modes) > 1 or with_flow or "frames" in batch
        if shared:
            features, flow = encode_keys(model, batch), flow_of_pairs(model, batch)
        for mode in modes:
            if shared:
                carried = chosen_rows(gap > 0, model.carry(features, flow, mode), features)
            else:
                carried = model(key, current, gap, mode)
            found = model.predict(carried, size, frame)
            accuracy[mode].update(found, batch, every)
            if with_runs and mode == "full":
                for row, duration in enumerate(durations):
                    counted = batch | {"gap": torch.full_like(gap, duration)}
                    taken = gap == batch["place"] % duration
                    runs.update(found, counted, taken)
                    offsets[row] += (taken[:, None] & (gap[:, None] == numbers)).sum(0)
        if with_flow:
            cells = flow_of_cells(flow.field, model.flow_stride, frame, model.strides[0])
            dense = dense_flow(cells, frame, size_of(batch["flow"]))
            errors.update(dense, batch["flow"], batch["flow_known"], gap)
    measures = {name: task.measure for name, task in module.tasks.items()}
    report: dict[str, Any] = {measure.name: {} for measure in measures.values()}
    for mode, counts in accuracy.items():
        for head, result in counts.compute().items():
            by_mode = report[measures[head].name]
            by_mode[mode] = result["by_gap"].tolist()
            for group in [g for g in measures[head].groups if g in result and mode == "full"]:
                by_mode[group] = result[group].tolist()
    for head, result in runs.compute().items():
        even = _evenly_covered(offsets)
        report[f"{measures[head].name}_runs"] = result["by_gap"].where(even, math.nan).tolist()
    if with_flow:
        epe, epe_zero = errors.compute()
        report |= {"epe": epe.tolist(), "epe_zero": epe_zero.tolist()}
    return report


def _evenly_covered(offsets: Tensor) -> Tensor:
    """Whether no offset of a key duration has twice the frames of another, over all processes.

    Args:
        offsets: (D, D) frames of a run with key duration 1 .. D, by offset.
    """
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(offsets)
    rows = [row[:duration] for duration, row in enumerate(offsets.cpu(), 1)]
    # a few labelled frames cannot lie evenly
    return torch.tensor([bool(row.max() <= 2 * row.min() + 1) for row in rows])


def batches_on(
    device: torch.device, data: PairData, loader: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A loader's batches on a device, frames in [0, 1]."""
    for batch in loader:
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        yield data.on_after_batch_transfer(moved, 0)


def at_key_duration(accuracy: dict[str, Any], key_duration: int) -> dict[str, float | None]:
    """What `schedule_accuracy` found for one key duration: means over the offsets 0 .. l - 1.

    Returns:
        `miou_mean`, `miou_worst` (of the offsets), `copy_miou_mean` and so on for each mode and
        motion group; `map_mean` likewise; `map_run`; `epe` and `epe_zero`. None where nothing was
        counted.
    """
    row: dict[str, float | None] = {}
    for name in measures_of(accuracy):
        by_gap = accuracy[name]
        known = _known(by_gap["full"][:key_duration])  # an offset may lack pairs
        row |= {f"{name}_mean": _mean(known), f"{name}_worst": min(known, default=None)}
        for mode in by_gap.keys() - {"full"}:  # ablations, and groups by motion
            row[f"{mode}_{name}_mean"] = _mean(_known(by_gap[mode][:key_duration]))
        if f"{name}_runs" in accuracy:  # of the network on each frame there is one alone
            row[f"{name}_run"] = _mean(_known(accuracy[f"{name}_runs"][:key_duration][-1:]))
    for name in ("epe", "epe_zero"):  # at gap 0 there is no flow to be wrong
        if accuracy.get(name) is not None:
            row[name] = _mean(_known(accuracy[name][1:key_duration]))
    return row


def measures_of(accuracy: dict[str, Any]) -> list[str]:
    """Names of the tasks' measures in what `schedule_accuracy` found."""
    return [name for name, found in accuracy.items() if isinstance(found, dict)]


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None and v == v]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
