"""What a per-frame model must offer, and how it becomes Deep Feature Flow without training."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from dff.models.contracts import Features
from dff.models.dff import DeepFeatureFlow, levels_of
from dff.models.heads.segmentation import divergence
from dff.models.warp import Stride

Kind = Literal["labels", "boxes"]
"""What a model finds: a class for each pixel, or boxes."""


class PerFrameModel(Protocol):
    """A trained model, cut in two: what runs on key frames, and what runs on every frame.

    `names`: of its classes, empty where they are not known. `kind`: see `Kind`. A model that
    resizes images itself may have `strides_for(size, levels)`: the strides (of rows, of columns) of
    levels of these sizes, in pixels of an image of this size. One that finds labels may have
    `scores(features)`, the scores of the classes (B, K, h, w), to learn from.
    """

    kind: Kind
    names: Sequence[str]

    def encode(self, image: Tensor) -> Features:
        """Image (B, 3, H, W), RGB in [0, 1] -> one map (B, C, h, w), or a tuple of levels."""

    def decode(self, features: Features, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """Features -> labels (B, H, W) uint8, or detections (B, D, 6), of images of `size`.

        `frame` is the size of the images that were encoded. Rows of detections are x1, y1, x2, y2,
        score, class; class -1 marks an empty row.
        """


class EncodedByModel(nn.Module):
    """The first half of a per-frame model as a feature network; what it gives tells its levels.

    Args:
        model: The model.
        image: An image (1, 3, H, W) to try it on.

    Raises:
        ValueError: It gives no maps.
    """

    def __init__(self, model: PerFrameModel, image: Tensor) -> None:
        super().__init__()
        self.model = model  # an nn.Module is registered, another object is kept as it is
        self._sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._levels: list[int] | None = None
        with torch.inference_mode():
            self(image)
        height, width = image.shape[-2:]
        assert self._levels is not None  # the first image told
        self.channels = tuple(self._levels)
        # whole strides where there are; `strides_for` is exact
        exact = self.strides_for((height, width))
        self.strides = tuple(max(1, round(s[1] if isinstance(s, tuple) else s)) for s in exact)

    def forward(self, image: Tensor) -> Features:
        """Image (B, 3, H, W), RGB in [0, 1] -> the maps of the model."""
        features = _checked(self.model.encode(image))
        levels = levels_of(features)
        channels = [level.shape[1] for level in levels]
        size = (image.shape[-2], image.shape[-1])
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        if self._levels is None:
            self._levels = channels
        before = self._sizes.setdefault(size, sizes)
        if channels != self._levels or sizes != before:
            raise ValueError(
                f"{_name(self.model)} gave maps of {_told(self._levels, before)} for a frame of "
                f"{size[0]} x {size[1]} pixels before, and now {_told(channels, sizes)}: what is "
                "propagated must be the same for every frame"
            )
        return features

    def strides_for(self, size: tuple[int, int]) -> Sequence[Stride]:
        """Strides (of rows, of columns) of each level for images of this height and width."""
        own = getattr(self.model, "strides_for", None)
        if own is not None:
            strides: Sequence[Stride] = own(size, self._sizes.get(size, []))
            return strides
        return [_stride(size, level) for level in self._sizes[size]]


class DecodedByModel(nn.Module):
    """The second half of a per-frame model as a head."""

    def __init__(self, model: PerFrameModel) -> None:
        super().__init__()
        self._model = [model]  # in a list: its weights are those of the feature network

    def predict(self, features: Features, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """Results of each image; see `PerFrameModel.decode`."""
        found = self._model[0].decode(features, size, frame)
        if not isinstance(found, Tensor):
            raise ValueError(
                f"{_name(self._model[0])}.decode gave a {type(found).__name__}: wanted a tensor of "
                "labels (B, H, W), or of detections (B, D, 6)"
            )
        return found

    @property
    def disagreement(self) -> Callable[[Features, Features], Tensor] | None:
        """As that of `SegmentationHead`; None where the model tells no scores of classes."""
        model = self._model[0]
        scores = getattr(model, "scores", None)
        return None if model.kind != "labels" or scores is None else self._divergence

    def _divergence(self, features: Features, own: Features) -> Tensor:
        scores: Any = self._model[0].scores  # type: ignore[attr-defined]
        return divergence(scores(features), scores(own))


def as_deep_feature_flow(
    model: PerFrameModel, flow_network: nn.Module, task: str, image: Tensor
) -> DeepFeatureFlow:
    """A per-frame model that runs its first half on key frames alone; nothing is trained.

    Args:
        model: The model.
        flow_network: A flow function.
        task: What its results are called.
        image: An image (1, 3, H, W) to try it on, on the model's device.
    """
    encoder = EncodedByModel(model, image)
    return DeepFeatureFlow(encoder, flow_network, {task: DecodedByModel(model)})


def _checked(features: Any) -> Features:
    levels = tuple(features) if isinstance(features, list | tuple) else (features,)
    if not levels or not all(isinstance(level, Tensor) and level.ndim == 4 for level in levels):
        shapes = [tuple(getattr(level, "shape", ())) or type(level).__name__ for level in levels]
        raise ValueError(f"encode gave {shapes}: wanted one map (B, C, h, w), or a tuple of them")
    return levels if isinstance(features, list | tuple) else levels[0]


def _stride(size: tuple[int, int], level: tuple[int, int]) -> Stride:
    """The whole stride that an image's and a level's size have in common, else their ratios."""
    whole = range(1, max(size) + 1)
    common = [s for s in whole if all(-(-a // s) == b for a, b in zip(size, level, strict=True))]
    if common:
        powers = [s for s in common if s & (s - 1) == 0]
        return float((powers or common)[0])
    return size[0] / level[0], size[1] / level[1]


def _told(channels: Sequence[int], sizes: Sequence[tuple[int, int]]) -> str:
    pairs = zip(channels, sizes, strict=False)
    return ", ".join(f"{c} x {h} x {w}" for c, (h, w) in pairs)


def _name(model: object) -> str:
    return type(model).__name__
