"""Semantic segmentation models of transformers as they are, with their own image processor.

transformers is an extra: `pip install 'dff[transformers]'`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.heads.segmentation import label_map
from dff.models.per_frame.model import Kind
from dff.models.warp import Stride


class TransformersModel(nn.Module):
    """A model of `AutoModelForSemanticSegmentation`: SegFormer, UperNet, and others of their build.

    The encoder with its levels is the first half, the decode head the second. `label_map` makes
    labels of scores.

    Args:
        name: Of the hub, or a folder with a configuration; with `random` also a type such as
            "segformer".
        random: Random weights, of seed 0.

    Raises:
        ConnectionError: It is neither in the cache nor to be had from the hub.
        ImportError: transformers is not there.
        ValueError: It is no such model, or one of another build.
    """

    kind: Kind = "labels"

    def __init__(self, name: str, random: bool = False) -> None:
        super().__init__()
        self.model, self.processor = _built(name, random)
        self.encoder = _encoder(name, self.model)
        labels = self.model.config.id2label
        self.names: Sequence[str] = [labels[i] for i in range(len(labels))]
        self.label_map = label_map
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}
        self.eval()

    def encode(self, image: Tensor) -> Features:
        """Image (B, 3, H, W), RGB in [0, 1] -> the levels of the encoder."""
        pictures = list((image * 255).round().clamp(0, 255).byte())
        seen = self.processor(images=pictures, return_tensors="pt")["pixel_values"].to(image)
        self._seen[image.shape[-2], image.shape[-1]] = (seen.shape[-2], seen.shape[-1])
        if self.encoder == "backbone":
            return tuple(self.model.backbone.forward_with_filtered_kwargs(seen).feature_maps)
        found = getattr(self.model, self.encoder)(seen, output_hidden_states=True)
        return tuple(found.hidden_states)

    def strides_for(
        self, size: tuple[int, int], levels: Sequence[tuple[int, int]]
    ) -> Sequence[Stride]:
        """Strides of the levels in pixels of a frame, which the processor resizes."""
        seen = self._seen.get(size, size)
        # whole in pixels of what the encoder sees
        return [
            (round(seen[0] / h) * size[0] / seen[0], round(seen[1] / w) * size[1] / seen[1])
            for h, w in levels
        ]

    def scores(self, features: Features) -> Tensor:
        """Scores of the classes (B, K, h, w), before they are enlarged."""
        scores: Tensor = self.model.decode_head(levels_of(features))
        return scores

    def decode(self, features: Features, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """The decode head, and labels at the size of the images; see `PerFrameModel`."""
        return self.label_map(self.scores(features), size)


def _encoder(name: str, model: Any) -> str:
    """Which part of a model encodes."""
    parts = [p for p in (model.base_model_prefix, "backbone") if p and hasattr(model, p)]
    if not parts or not hasattr(model, "decode_head"):
        raise ValueError(
            f"transformers:{name} is a {type(model).__name__}: wanted one of an encoder with "
            "levels and a decode head, such as SegFormer or UperNet"
        )
    return parts[0]


def _built(name: str, random: bool) -> tuple[Any, Any]:
    try:
        import transformers as library
    except ImportError as error:
        raise ImportError(
            "a model transformers:NAME needs transformers, which is not installed: "
            "pip install 'dff[transformers]'"
        ) from error
    transformers: Any = library  # half of it is without annotations
    auto = transformers.AutoModelForSemanticSegmentation
    try:
        if not random:
            model = auto.from_pretrained(name)
            return model, transformers.AutoImageProcessor.from_pretrained(name)
        torch.manual_seed(0)
        if Path(name).is_dir() or "/" in name:
            config = transformers.AutoConfig.from_pretrained(name)
            processor = transformers.AutoImageProcessor.from_pretrained(name)
        else:
            config = transformers.AutoConfig.for_model(name)
            processor = transformers.SegformerImageProcessor()
        return auto.from_config(config), processor
    except OSError as error:
        words = str(error).strip().splitlines()[0][:200]
        raise ConnectionError(
            f"transformers cannot load {name} ({words}): give a folder that save_pretrained wrote, "
            "or a name of the hub where there is a network"
        ) from error
    except (ValueError, KeyError) as error:
        words = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"transformers:{name} is no model for semantic segmentation ({words})"
        ) from error
