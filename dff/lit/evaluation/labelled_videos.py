"""The videos of a data module as frames in memory, with their truth or without."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from dff.data.collation import collate
from dff.data.pair_files import read_frames
from dff.data.pairs import EvaluationPairs
from dff.data.transforms.unit_range import to_unit_range
from dff.inference.recognizer import size_of
from dff.inference.schedules.observation import LabelledFrames
from dff.lit.datamodules.loaders import to_unit_frames
from dff.lit.datamodules.pair_data import PairData
from dff.lit.metrics.accuracy import truth_size


def labelled_videos(
    data: PairData, device: torch.device, most: int, frames: int
) -> list[LabelledFrames]:
    """Held-out videos with the truth of each frame.

    Args:
        data: Of consecutive labelled frames.
        device: Where frames go; truth stays on the CPU.
        most: How many videos at most.
        frames: How many frames of each at most.

    Raises:
        ValueError: Between two labelled frames of a video lies one without labels.
    """
    data.prepare_data()
    pairs = cast(EvaluationPairs, data.evaluation_pairs([0]).dataset)
    entries = pairs.entries.tolist()
    videos: list[LabelledFrames] = []
    for number in list(dict.fromkeys(n for n, _, _ in entries))[:most]:
        own = [i for i, entry in enumerate(entries) if entry[0] == number][:frames]
        name = pairs.snippets[number].name
        for before, after in pairwise(entries[i][1] for i in own):
            if after != before + 1:
                raise ValueError(
                    f"frame {before + 1} of {name} has no labels, and schedules are compared over "
                    "each frame: give videos with --videos, to compare with the model's own results"
                )
        batches = [to_unit_frames(dict(collate([pairs[i]]))) for i in own]
        shown = torch.cat([batch["current"] for batch in batches]).to(device)
        truth = [{k: v for k, v in b.items() if k not in ("key", "current")} for b in batches]
        tensors = [{k: v for k, v in b.items() if isinstance(v, Tensor)} for b in truth]
        videos.append(LabelledFrames(name, shown, truth_size(batches[0]), tensors, number))
    return videos


def unlabelled_videos(
    data: PairData, device: torch.device, most: int, frames: int
) -> list[LabelledFrames]:
    """Videos of the training split; whatever labels they have are not read.

    Args:
        data: Of any kind.
        device: Where frames go.
        most: How many videos at most.
        frames: How many frames of each at most.
    """
    data.prepare_data()
    videos: list[LabelledFrames] = []
    for number, snippet in enumerate(data.find_snippets("train")):
        numbers = sorted(snippet.frames)[:frames]
        if len(videos) == most or len(numbers) < 2:
            continue
        seen = [
            data.evaluation_transform({"key": f, "current": f})["current"]
            for f in read_frames(snippet, numbers)
        ]
        shown = torch.stack([torch.from_numpy(f.copy()).permute(2, 0, 1) for f in seen])
        shown = to_unit_range(shown).to(device)
        videos.append(LabelledFrames(snippet.name, shown, size_of(shown), None, number))
    return videos
