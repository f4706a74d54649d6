"""A per-frame model by what a person calls it."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

from dff.models.per_frame.model import PerFrameModel
from dff.models.per_frame.torchvision import TorchvisionModel
from dff.models.per_frame.transformers import TransformersModel

FORMS = "torchvision:NAME, transformers:NAME or module:package.file:factory"


def per_frame_model(spec: str, weights: Path | None = None, random: bool = False) -> PerFrameModel:
    """The model of a name.

    Args:
        spec: `torchvision:deeplabv3_resnet101`, `transformers:NAME`, or
            `module:package.file:factory`, a function without arguments that returns an object with
            `encode(image)` and `decode(maps, size)`.
        weights: A file, for a model of torchvision.
        random: Random weights of seed 0 in place of trained ones.

    Raises:
        ConnectionError: Weights cannot be downloaded.
        FileNotFoundError: There is no such file of weights.
        ImportError: The library is not there.
        ValueError: There is no such model, or it has not what it needs.
    """
    kind, _, name = spec.partition(":")
    if not is_per_frame_name(spec) or not name:
        raise ValueError(f"model {spec!r}: wanted {FORMS}")
    if weights is not None and kind != "torchvision":
        raise ValueError(
            f"--weights with {kind}:...: wanted a model of torchvision; others load their own"
        )
    if kind == "torchvision":
        return TorchvisionModel(name, weights, random)
    if kind == "transformers":
        return TransformersModel(name, random)
    return _own(name)


def is_per_frame_name(text: str) -> bool:
    """Whether a text names a per-frame model, and not a file."""
    return text.partition(":")[0] in ("torchvision", "transformers", "module") and ":" in text


class OwnModel(nn.Module):
    """A model of somebody's own, from a factory.

    Args:
        model: Has `encode` and `decode`; may have `names`, `kind` and `scores`.
        spec: What it is called in messages.
    """

    def __init__(self, model: Any, spec: str) -> None:
        super().__init__()
        self.model, self.spec = model, spec
        self.kind = getattr(model, "kind", "labels")
        self.names: Sequence[str] = list(getattr(model, "names", []))
        if hasattr(model, "strides_for"):
            self.strides_for = lambda size, _: model.strides_for(size)
        if hasattr(model, "scores"):
            self.scores = model.scores

    def encode(self, image: Any) -> Any:
        """As the model."""
        return self.model.encode(image)

    def decode(self, features: Any, size: tuple[int, int], frame: tuple[int, int]) -> Any:
        """As the model; labels of any whole type become bytes."""
        found = self.model.decode(features, size)
        if self.kind == "labels" and hasattr(found, "byte"):
            if found.ndim != 3 or tuple(found.shape[1:]) != tuple(size):
                raise ValueError(
                    f"{self.spec}: decode gave labels of shape {tuple(found.shape)}: wanted "
                    f'(B, {size[0]}, {size[1]}), or `kind = "boxes"` beside detections (B, D, 6)'
                )
            return found.byte()
        return found


def _own(name: str) -> PerFrameModel:
    path, _, factory = name.partition(":")
    spec = f"module:{name}"
    if not factory:
        raise ValueError(f"model {spec!r}: wanted module:package.file:factory")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    function = getattr(_imported(path, spec), factory, None)
    if function is None:
        raise ValueError(f"model {spec!r}: {path} has no {factory}")
    try:
        model = function()
    except Exception as error:  # somebody else's code
        raise ValueError(
            f"model {spec!r}: {factory}() raised {type(error).__name__}: {error}"
        ) from error
    lacking = [part for part in ("encode", "decode") if not callable(getattr(model, part, None))]
    if lacking:
        raise ValueError(
            f"model {spec!r}: what {factory}() returns ({type(model).__name__}) has no "
            f"{' and no '.join(lacking)}: wanted encode(image) -> maps and decode(maps, size) -> "
            "labels or detections"
        )
    return cast(PerFrameModel, OwnModel(model, spec))


def _imported(path: str, spec: str) -> ModuleType:
    """A module of somebody else's; whatever it raises is told in words."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"model {spec!r}: {error}: run the command where {path.replace('.', '/')}.py is, or "
            "install its package"
        ) from error
    except SyntaxError as error:
        raise ValueError(
            f"model {spec!r}: {error.filename}, line {error.lineno}, is no Python ({error.msg}): "
            "mend it"
        ) from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"model {spec!r}: {last.filename}, line {last.lineno}, raised {type(error).__name__}: "
            f"{error}"
        ) from error
