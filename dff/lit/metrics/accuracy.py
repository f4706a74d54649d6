"""Accuracy of every task by gap, from one pass over evaluation pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dff.inference.recognizer import size_of
from dff.models.contracts import Accuracy, Task


class Gathered(Metric):
    """What an `Accuracy` counts, exact over any split into batches and processes.

    Args:
        accuracy: How it is counted; its sums and rows are the states.
    """

    full_state_update = False

    def __init__(self, accuracy: Accuracy) -> None:
        super().__init__()
        self.accuracy = accuracy
        for name, zeros in accuracy.sums.items():
            self.add_state(name, zeros.clone(), dist_reduce_fx="sum")
        for name in accuracy.rows:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, found: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Counts a batch; see `Accuracy.count`."""
        for name, counted in self.accuracy.count(found, batch).items():
            if name in self.accuracy.sums:
                getattr(self, name).add_(counted)
            else:
                getattr(self, name).append(counted)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers what all processes have counted."""
        for name, empty in self.accuracy.rows.items():
            if isinstance(rows := getattr(self, name), list) and not rows:
                # torchmetrics would send a flat float32 tensor of no rows, and the processes that
                # have some would wait for another shape.
                rows.append(empty.to(self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Of all that was counted; see `Accuracy.result`."""
        counted = {name: getattr(self, name) for name in self.accuracy.sums}
        for name, empty in self.accuracy.rows.items():
            rows = getattr(self, name)
            parts = [rows] if isinstance(rows, Tensor) else rows
            counted[name] = torch.cat([empty, *(part.cpu() for part in parts)])
        return self.accuracy.result(counted)


FRAMES = ("key", "current", "previous", "frames")
"""What of a batch is no truth."""


class GapAccuracy(nn.Module):
    """Accuracy by gap of some tasks.

    Args:
        tasks: By the names of their heads.
        gaps: The gaps that are evaluated.
    """

    def __init__(self, tasks: Mapping[str, Task], gaps: Sequence[int]) -> None:
        super().__init__()
        counted = {name: Gathered(task.accuracy(gaps)) for name, task in tasks.items()}
        # a ModuleDict does not tell what modules it holds
        self.metrics = cast("Mapping[str, Gathered]", nn.ModuleDict(counted))

    def update(self, predictions: dict[str, Tensor], batch: dict[str, Any], kept: Tensor) -> None:
        """Counts a batch of pairs.

        Args:
            predictions: Of the model, for images of `truth_size`.
            batch: With the targets of the tasks.
            kept: Which rows count, (B,) bool.
        """
        if not kept.any():
            return
        truth = {
            name: value[kept]
            for name, value in batch.items()
            if isinstance(value, Tensor) and name not in FRAMES
        }
        for head, metric in self.metrics.items():
            metric.update(predictions[head][kept], truth)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """Head -> `by_gap` (gaps,), `by_class` (classes,) and groups; see `Accuracy.result`."""
        # torchmetrics makes a number of a single value
        return {
            head: {n: v.reshape(-1).double().cpu() for n, v in metric.compute().items()}
            for head, metric in self.metrics.items()
        }

    def reset(self) -> None:
        """Forgets what was counted."""
        for metric in self.metrics.values():
            metric.reset()


def truth_size(batch: dict[str, Any]) -> tuple[int, int]:
    """Height and width of the images that the truth of a batch stands in.

    Raises:
        ValueError: The frames of the batch differ in size.
    """
    before = batch.get("frame_size", batch["size"])  # resized, they may be of one size
    if any((sizes != sizes[0]).any() for sizes in (batch["size"], before)):
        sizes = sorted({f"{h}x{w}" for h, w in before.tolist()})
        raise ValueError(
            f"frames of {' and '.join(sizes)} in one batch of evaluation: "
            "set --data.val_batch_size 1"
        )
    if "mask" in batch:
        return size_of(batch["mask"])
    height, width = batch["frame_size"][0].tolist()
    return height, width


def mean_of(values: Any) -> float:
    """Mean of the values that are known; NaN of none."""
    known = [float(v) for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
