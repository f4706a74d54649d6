"""torchvision's models for segmentation and detection as they are."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.heads.segmentation import label_map
from dff.models.per_frame.model import Kind
from dff.models.warp import Stride
from dff.models.weights.files import check_finite, read_torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what the segmentation models expect; the detectors normalise by themselves."""


class Given(nn.Module):
    """Stands in the place of a backbone, and gives what has been computed elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.features: Any = None

    def forward(self, *_: Any, **__: Any) -> Any:
        """Whatever it was told to give."""
        return self.features


class TorchvisionModel(nn.Module):
    """deeplabv3, fcn, lraspp; fasterrcnn, retinanet, fcos, ssd, ssdlite.

    The backbone is the first half, with its feature pyramid where it has one. The second half is
    the model itself, with the maps in the place of its backbone's. `label_map` makes labels of
    scores.

    Args:
        name: Of torchvision's.
        weights: A file of its state dict, None for the weights that torchvision downloads.
        random: Random weights instead, of seed 0.

    Raises:
        ConnectionError: The weights cannot be downloaded.
        FileNotFoundError: There is no such file.
        ValueError: torchvision has no such model, or the file is of another one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: Path | None = None, random: bool = False) -> None:
        super().__init__()
        self.names: Sequence[str]
        self.model, self.names = _built(name, weights, random)
        self.kind: Kind = "boxes" if hasattr(self.model, "transform") else "labels"
        self.backbone: nn.Module = self.model.backbone
        self.label_map = label_map
        self._given = Given()
        self._keys: list[str] | None = None
        if getattr(self.model, "aux_classifier", None) is not None:
            self.model.aux_classifier = None  # of training
        # the model calls what stands here, and the backbone is called apart
        self.model.backbone = self._given
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self._resized: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {}
        self.eval()

    def encode(self, image: Tensor) -> Features:
        """Image (B, 3, H, W), RGB in [0, 1] -> the backbone's maps."""
        if self.kind == "boxes":
            images, _ = self.model.transform(list(image))
            size = (image.shape[-2], image.shape[-1])
            padded = (images.tensors.shape[-2], images.tensors.shape[-1])
            self._resized[size] = images.image_sizes[0], padded
            found = self.backbone(images.tensors)
        else:
            found = self.backbone((image - self.mean) / self.std)
        if isinstance(found, Tensor):
            return found
        wanted = [key for key in found if key != "aux"]
        self._keys = wanted
        return tuple(found[key] for key in wanted)

    def strides_for(
        self, size: tuple[int, int], levels: Sequence[tuple[int, int]]
    ) -> Sequence[Stride]:
        """Strides of the levels in pixels of a frame that the model itself may resize and pad."""
        resized, padded = self._resized.get(size, (size, size))
        if self.kind == "labels":
            return [_whole(size, level) for level in levels]
        # whole in pixels of what the backbone sees
        return [
            (
                round(padded[0] / h) * size[0] / resized[0],
                round(padded[1] / w) * size[1] / resized[1],
            )
            for h, w in levels
        ]

    def scores(self, features: Features) -> Tensor:
        """Scores of the classes (B, K, h, w), before they are enlarged; of a model of labels."""
        first = levels_of(features)[0]
        scores: Tensor = self._second_half(features, (first.shape[-2], first.shape[-1]))["out"]
        return scores

    def decode(self, features: Features, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """The rest of the model; see `PerFrameModel`."""
        if self.kind == "labels":
            return self.label_map(self.scores(features), size)
        found = self._second_half(features, frame)
        rows = [_rows(one, size, frame) for one in found]
        most = max(1, *(len(row) for row in rows))
        return torch.stack([F.pad(row, (0, 0, 0, most - len(row)), value=-1.0) for row in rows])

    def _second_half(self, features: Features, size: tuple[int, int]) -> Any:
        levels = levels_of(features)
        self._given.features = (
            levels[0] if self._keys is None else dict(zip(self._keys, levels, strict=True))
        )
        blank = levels[0].new_zeros((len(levels[0]), 3, *size), dtype=torch.float32)
        return self.model(list(blank) if self.kind == "boxes" else blank)


def _rows(found: dict[str, Tensor], size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """Detections of one image -> (n, 6); the last pixel belongs to a box, as everywhere here."""
    ratio = found["boxes"].new_tensor([size[1] / frame[1], size[0] / frame[0]] * 2)
    boxes = found["boxes"] * ratio
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - 1], 1)
    return torch.cat([boxes, found["scores"][:, None], found["labels"][:, None].to(boxes)], 1)


def _built(name: str, weights: Path | None, random: bool) -> tuple[Any, Sequence[str]]:
    from torchvision import models  # slow to import

    known = [
        *models.list_models(models.segmentation),
        *(n for n in models.list_models(models.detection) if "mask" not in n and "key" not in n),
    ]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise ValueError(
            f"torchvision has no model {name!r} for segmentation or boxes: the nearest are "
            f"{', '.join(near)}"
        )
    default = models.get_model_weights(name).DEFAULT
    names = list(default.meta.get("categories", []))
    if weights is None and not random:
        try:
            return models.get_model(name, weights=default), names
        except OSError as error:
            raise ConnectionError(
                f"the weights of torchvision:{name} cannot be downloaded ({error}): download them "
                "where there is a network and give the file to --weights, or try the speed alone "
                "with --random_weights"
            ) from error
    torch.manual_seed(0)
    if weights is None:
        return models.get_model(name, weights=None, weights_backbone=None), names
    state = read_torch(weights, "weights", "give a state dict of this model")
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    count = _classes_of(state)
    settings = {} if count is None else {"num_classes": count}
    made = models.get_model(name, weights=None, weights_backbone=None, **settings)
    try:
        told = made.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        words = (str(error).splitlines() or [""])[-1].strip()[:160]
        raise ValueError(
            f"{weights} holds the weights of another model than {name} ({words})"
        ) from error
    missing = [key for key in told.missing_keys if "num_batches" not in key]
    if missing or [key for key in told.unexpected_keys if not key.startswith("aux")]:
        raise ValueError(
            f"{weights} holds the weights of another model than torchvision:{name}: it lacks "
            f"{len(missing)} tensors and has {len(told.unexpected_keys)} others; give its own file"
        )
    check_finite(state, weights)
    return made, names if count in (None, len(names)) else []


def _classes_of(state: Any) -> int | None:
    """How many classes a file of weights is for, where its last layer tells."""
    if isinstance(state, dict):
        for key in ("classifier.4.weight", "roi_heads.box_predictor.cls_score.weight"):
            if isinstance(state.get(key), Tensor):
                return len(state[key])
    return None


def _whole(size: tuple[int, int], level: tuple[int, int]) -> Stride:
    """The power of two between the sizes of a frame and of a level."""
    stride = 1
    while -(-size[1] // stride) > level[1]:
        stride *= 2
    return float(stride)
