"""What an `Accuracy` counted on several frames, put together."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dff.models.contracts import Accuracy

Counted = Mapping[str, Tensor]
"""What an `Accuracy` counts on one frame; its sums may be sparse."""


def total(counter: Accuracy, frames: Iterable[Counted]) -> dict[str, Tensor]:
    """The sums added up and the rows in one table, as `Accuracy.result` takes them."""
    sums: dict[str, Tensor] = {name: zeros.clone() for name, zeros in counter.sums.items()}
    rows: dict[str, list[Tensor]] = {name: [empty] for name, empty in counter.rows.items()}
    for counted in frames:
        for name, value in counted.items():
            if name in sums:
                sums[name] += value
            else:
                rows[name].append(value.to(counter.rows[name].dtype))
    return {**sums, **{name: torch.cat(parts) for name, parts in rows.items()}}
