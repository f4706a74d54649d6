"""Evaluation pairs by key frame, with the frames between: for flow by way of the frame before."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dff.data.collation import collate
from dff.data.pair_files import read_frames
from dff.data.pairs import EvaluationPairs
from dff.data.samples import Pair


class EvaluationIntervals(Dataset[Pair]):
    """Each key frame with all labelled frames that it is evaluated on, one batch each.

    A batch is that of its pairs, in the order of their gaps, and has `frames` beside: the key frame
    and each one after it up to the last that is labelled, (n, 3, H, W) uint8.

    Args:
        pairs: The pairs.

    Raises:
        ValueError: A frame between a key frame and a current frame is missing in every pair.
    """

    def __init__(self, pairs: EvaluationPairs) -> None:
        self.pairs = pairs
        number, current, gap = pairs.entries.T
        # a frame that is missing breaks the way of the flow: such pairs are left out
        whole = np.array(
            [
                all(c - step in pairs.snippets[n].frames for step in range(g))
                for n, c, g in pairs.entries.tolist()
            ],
            bool,
        )
        if not whole.any():
            raise ValueError(
                "between no key frame and current frame are all frames there: evaluate with "
                "--model.flow_from key, or add them"
            )
        kept = np.flatnonzero(whole)
        order = kept[np.lexsort((gap[kept], (current - gap)[kept], number[kept]))]
        keys = np.stack((number, current - gap), axis=1)[order]
        begins = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
        self.groups: Sequence[np.ndarray] = np.split(order, begins)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Pair:
        """The batch of one key frame.

        Raises:
            SampleError: A file cannot be used.
        """
        group = self.groups[index].tolist()
        number, current, gap = self.pairs.entries[group[-1]].tolist()
        key, batch = current - gap, collate([self.pairs[i] for i in group])
        shown = dict(zip(batch["gap"].tolist(), batch["current"], strict=True))
        shown[0] = batch["key"][0]
        between = [g for g in range(gap + 1) if g not in shown]
        snippet, numbers = self.pairs.snippets[number], [key + g for g in between]
        frames = read_frames(snippet, numbers) if numbers else []
        shown |= dict(zip(between, map(self._as_seen, frames), strict=True))
        stacked = torch.stack([shown[g].permute(1, 2, 0) for g in range(gap + 1)])
        batch["frames"] = stacked.permute(0, 3, 1, 2)
        # processes share intervals, not pairs
        batch["index"] = torch.full_like(batch["index"], index)
        return batch

    def _as_seen(self, frame: np.ndarray) -> Tensor:
        seen = self.pairs.transform({"key": frame, "current": frame}, 0)["current"]
        return torch.from_numpy(seen.copy()).permute(2, 0, 1)
