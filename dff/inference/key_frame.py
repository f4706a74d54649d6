"""A key frame as it serves the frames after it, and their flow to it."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dff.inference.evidence import LastKey
from dff.models.contracts import Features, Flow, PreparedKey
from dff.models.dff import DeepFeatureFlow, repeated
from dff.models.flow.from_previous import Trail, compose


class KeyFrame:
    """What the frames after a key frame need: the frame and its features.

    Args:
        frame: (1, 3, H, W).
        features: Of it.
        index: Its number in its video.
        number: How many key frames the video has had, this one included.
        seconds: What the networks took for this video until the last frame that it served.
    """

    def __init__(
        self,
        frame: Tensor,
        features: Features,
        index: int = 0,
        number: int = 1,
        seconds: float = 0.0,
    ) -> None:
        self.frame, self.features, self.index = frame, features, index
        self.number, self.seconds = number, seconds
        self.before: Trail | None = None  # of the last frame after it
        self._prepared: dict[int, Tensor | PreparedKey] = {}

    def after(self, frames: Tensor, flow: Flow, count: int) -> "KeyFrame":
        """The key frame as it serves what follows the first `count` (from 1) of some frames."""
        key = copy.copy(self)
        key.before = Trail(frames[count - 1 : count], flow.field[count - 1 : count])
        return key

    def prepared(self, model: DeepFeatureFlow, n: int) -> Tensor | PreparedKey:
        """What `model.propagate` takes as the key frame of n frames.

        Made when frames first ask for it: at key duration 1 none do.
        """
        if n not in self._prepared:
            self._prepared[n] = model.prepare(self.frame.expand(n, -1, -1, -1))
        return self._prepared[n]

    def as_last(self) -> LastKey:
        """As a schedule is told of it."""
        previous = None if self.before is None else self.before.frame
        return LastKey(self.index, self.frame, self.number, previous, self.seconds)

    def repeated(self, n: int) -> Features:
        """The features n times, without a copy."""
        return repeated(self.features, n)


Motion = Sequence[Tensor | None] | None
"""Of each frame, what its file says of its motion since the frame before; see `Clip.motion`."""


def find_flows(
    model: DeepFeatureFlow, key: KeyFrame, frames: Tensor, motion: Motion = None
) -> Flow:
    """The flow of consecutive frames (n, 3, H, W) to their key frame.

    They follow the frame that the key frame was last used for. Where the model finds flow from the
    key frame, or from neighbour to neighbour, it is found for all of them at once.
    """
    if model.flow_from == "key":
        return model.find_flow(key.prepared(model, len(frames)), frames)
    if model.flow_from == "chain":
        first = key.frame if key.before is None else key.before.frame
        befores = torch.cat((first, frames[:-1]))
        neighbours = _neighbours(model, befores, frames, motion if model.from_file else None)
        field, fields = None if key.before is None else key.before.field, []
        for row in neighbours.field.split(1):
            field = row if field is None else compose(row, field, model.flow_stride)
            fields.append(field)
        return neighbours._replace(field=torch.cat(fields))
    flows: list[Flow] = []
    for frame in frames.split(1):
        if key.before is None:
            flows.append(model.find_flow(key.prepared(model, 1), frame))
        else:
            flows.append(model.find_flow(key.frame, frame, key.before))
        key = key.after(frame, flows[-1], 1)
    return joined_flows(flows)


def _neighbours(model: DeepFeatureFlow, befores: Tensor, frames: Tensor, motion: Motion) -> Flow:
    """The flow of each frame to the one before it: by its file where that says so, or found."""
    if motion is None:
        return model.find_flow(befores, frames)
    rows = zip(befores.split(1), frames.split(1), motion, strict=True)
    return joined_flows(
        [
            model.find_flow(before, frame)
            if field is None
            else model.told_flow(field.unsqueeze(0).to(frame.device), frame)
            for before, frame, field in rows
        ]
    )


def encode_keys(model: DeepFeatureFlow, batch: Mapping[str, Tensor]) -> Features:
    """Features of the key frames of a batch of pairs; see `flow_of_pairs`."""
    if "frames" not in batch:
        return model.encode(batch["key"])
    return repeated(model.encode(batch["frames"][:1]), len(batch["gap"]))


def flow_of_pairs(model: DeepFeatureFlow, batch: Mapping[str, Tensor]) -> Flow:
    """The flow from current to key frame of each pair of a batch; it means nothing at gap 0.

    Args:
        model: In eval mode.
        batch: With `key`, `current` and `gap`; where it has `frames` (see `EvaluationIntervals`),
            all pairs have one key frame, and flow is found by way of all frames between.
    """
    frames = batch.get("frames")
    if frames is None or len(frames) == 1:
        return model.find_flow(batch["key"], batch["current"])
    flow = find_flows(model, KeyFrame(frames[:1], ()), frames[1:])
    return flow.rows((batch["gap"] - 1).clamp(min=0))


def joined_flows(flows: Sequence[Flow]) -> Flow:
    """The flow of several frames in one batch."""

    def joined(maps: Sequence[Tensor | None]) -> Tensor | None:
        there = [rows for rows in maps if rows is not None]
        return torch.cat(there) if there else None

    return flows[0]._replace(
        field=torch.cat([flow.field for flow in flows]),
        context=joined([flow.context for flow in flows]),
        current=joined([flow.current for flow in flows]),
    )
