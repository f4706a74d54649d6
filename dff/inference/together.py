"""Frames of several videos through one model in one batch, each with a key frame of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dff.inference.key_frame import KeyFrame
from dff.inference.recognizer import Recognized, batch_rows, size_of
from dff.models.contracts import Flow, PreparedKey
from dff.models.dff import DeepFeatureFlow, levels_of, on_levels
from dff.models.flow.from_previous import Trail


def recognize_together(
    model: DeepFeatureFlow,
    frames: Tensor,
    indices: Sequence[int],
    keys: Sequence[KeyFrame | None],
    are_keys: bool,
    size: tuple[int, int] | None = None,
) -> list[Recognized]:
    """Recognises one frame of each of several videos: all of them key frames, or none.

    Args:
        model: In eval mode, on the frames' device.
        frames: (n, 3, H, W), RGB in [0, 1].
        indices: Number of each frame in its video.
        keys: The last key frame of each video; None where it begins. Where the model finds flow by
            way of the frame before, that is known of all of them or of none; see `is_first`.
        are_keys: Whether these are key frames.
        size: Height and width of the results; None is that of the frames.
    """
    rows = frames.split(1)
    if are_keys:
        features = model.encode(frames)
        numbers = [1 if key is None else key.number + 1 for key in keys]
        lasts = [
            KeyFrame(row, batch_rows(features, slice(i, i + 1)), index, number)
            for i, (row, index, number) in enumerate(zip(rows, indices, numbers, strict=True))
        ]
    else:
        known = [key for key in keys if key is not None]
        flow = _flows(model, frames, known)
        kept = [key.features for key in known]
        features = model.carry(on_levels(lambda *one: torch.cat(one), kept[0], *kept[1:]), flow)
        lasts = [
            key.after(row, flow.rows(slice(i, i + 1)), 1)
            for i, (row, key) in enumerate(zip(rows, known, strict=True))
        ]
    predictions = model.predict(features, size or size_of(frames), size_of(frames))
    sums = sum(level.sum((1, 2, 3), dtype=torch.float32) for level in levels_of(features))
    assert isinstance(sums, Tensor)
    return [
        Recognized({n: v[i : i + 1] for n, v in predictions.items()}, [are_keys], last, finite)
        for i, (last, finite) in enumerate(zip(lasts, sums.isfinite().unbind(), strict=True))
    ]


def is_first(model: DeepFeatureFlow, key: KeyFrame) -> bool:
    """Whether the flow of the next frame is found without a frame between it and the key frame."""
    return model.flow_from == "key" or key.before is None


def _flows(model: DeepFeatureFlow, frames: Tensor, keys: Sequence[KeyFrame]) -> Flow:
    """The flow of each frame to its key frame, as `find_flows` finds it for one video."""
    if is_first(model, keys[0]):
        return model.find_flow(_joined([key.prepared(model, 1) for key in keys]), frames)
    befores = [key.before for key in keys if key.before is not None]
    before = Trail(*(torch.cat(maps) for maps in zip(*befores, strict=True)))
    return model.find_flow(torch.cat([key.frame for key in keys]), frames, before)


def _joined(keys: Sequence[Tensor | PreparedKey]) -> Tensor | PreparedKey:
    """Key frames as a flow network takes them, in one batch."""
    if isinstance(keys[0], PreparedKey):
        parts = zip(*(key.parts for key in keys if isinstance(key, PreparedKey)), strict=True)
        shape = torch.Size((len(keys), *keys[0].shape[1:]))
        return PreparedKey(shape, tuple(map(torch.cat, parts)))
    return torch.cat([key for key in keys if isinstance(key, Tensor)])
