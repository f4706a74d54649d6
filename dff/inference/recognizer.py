"""A model over a video: frame by frame (live), or interval by interval (throughput).

Both give the same results. The per-frame baseline is key duration 1. What is kept between frames
is a value that the caller holds, so nothing needs a reset and two videos cannot mix.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from dff.models.dff import DeepFeatureFlow, PreparedKey, Propagation
from dff.models.schedule import Schedule

Predictions = dict[str, Tensor]

CPU_BATCH = 2
"""Frames that a CPU takes at once: what more of them leave between two layers outgrows its caches,
and nine frames of 720p take a quarter longer."""


class KeyFrame:
    """What the frames after a key frame need: the frame and its features.

    Args:
        frame: (1, 3, H, W).
        features: (1, C, h, w).
    """

    def __init__(self, frame: Tensor, features: Tensor) -> None:
        self.frame, self.features = frame, features
        self._prepared: dict[int, Tensor | PreparedKey] = {}

    def prepared(self, model: DeepFeatureFlow, n: int) -> Tensor | PreparedKey:
        """What `model.propagate` takes as the key frame of n frames.

        Made when frames first ask for it: at key duration 1 none do.
        """
        if n not in self._prepared:
            self._prepared[n] = model.prepare(self.frame.expand(n, -1, -1, -1))
        return self._prepared[n]


def encode_key_frame(
    model: DeepFeatureFlow, frame: Tensor, size: tuple[int, int] | None = None
) -> tuple[KeyFrame, Predictions]:
    """Recognises a key frame (1, 3, H, W); `size` is that of the results (default: the frame's)."""
    features = model.encode(frame)
    return KeyFrame(frame, features), _predict(model, features, frame, size)


def recognize(
    model: DeepFeatureFlow,
    key: KeyFrame,
    frames: Tensor,
    size: tuple[int, int] | None = None,
    mode: Propagation = "full",
) -> Predictions:
    """Recognises frames (n, 3, H, W) that one key frame serves, in one batch."""
    return _predict(model, _propagate(model, key, frames, mode), frames, size)


def stream(
    model: DeepFeatureFlow,
    frames: Iterable[Tensor],
    schedule: Schedule,
    size: tuple[int, int] | None = None,
) -> Iterator[Predictions]:
    """Live: one frame (1, 3, H, W) in, one result out."""
    key: KeyFrame | None = None
    for index, frame in enumerate(frames):
        if schedule.is_key(index, frame) or key is None:
            key, predictions = encode_key_frame(model, frame, size)
        else:
            predictions = recognize(model, key, frame, size)
        yield predictions


def recognize_interval(
    model: DeepFeatureFlow, frames: Tensor, size: tuple[int, int] | None = None
) -> Predictions:
    """Throughput: a key frame and the frames it serves (n, 3, H, W), n >= 1, in one call.

    Raises:
        ValueError: Features are not finite, so that no result would mean anything.
    """
    key, first = encode_key_frame(model, frames[:1], size)
    found, sums = [first], [key.features.sum(dtype=torch.float32)]
    for some in frames[1:].split(batch_size(frames)) if len(frames) > 1 else ():
        features = _propagate(model, key, some)
        found.append(_predict(model, features, some, size))
        sums.append(features.sum(dtype=torch.float32))  # not finite where a feature is not
    # after all of the interval: asking a device for a number waits for what it has to do
    if not torch.stack(sums).isfinite().all():
        raise ValueError(
            f"features became NaN or infinite (in {key.features.dtype}), so nothing is recognised "
            "by them: numbers too large for 16-mixed want --precision bf16-mixed or 32-true, and "
            "where that is set, other weights"
        )
    return {name: torch.cat([one[name] for one in found]) for name in first}


def batch_size(frames: Tensor) -> int:
    """How many of the frames (n, 3, H, W) are best taken at once on their device."""
    return CPU_BATCH if frames.device.type == "cpu" else len(frames)


def _propagate(
    model: DeepFeatureFlow, key: KeyFrame, frames: Tensor, mode: Propagation = "full"
) -> Tensor:
    n = len(frames)
    return model.propagate(key.features.expand(n, -1, -1, -1), key.prepared(model, n), frames, mode)


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images or maps (..., H, W)."""
    height, width = images.shape[-2:]
    return height, width


def _predict(
    model: DeepFeatureFlow, features: Tensor, frames: Tensor, size: tuple[int, int] | None
) -> Predictions:
    frame = size_of(frames)
    return model.predict(features, size or frame, frame)
