"""A graph through `torch.export`, for both formats."""

import warnings
from typing import Any

import torch

from dff.inference.export.graphs import Graph

SAME = "Conv2dSame"
"""Of timm; where it strides, its padding depends on the size in each of its layers."""


def traced(graph: Graph, dynamic: bool) -> torch.export.ExportedProgram:
    """A graph as PyTorch exports it.

    Args:
        graph: The graph; a batch has one image.
        dynamic: Whether maps (1, C, h, w) are of any size; else of that of the examples.

    Raises:
        ValueError: It cannot be exported.
    """
    same = [m for m in graph.module.modules() if type(m).__name__ == SAME]
    if dynamic and any(max(getattr(layer, "stride")) > 1 for layer in same):  # noqa: B009
        raise ValueError(
            f"{graph.name} of this model pads as TensorFlow does ({SAME} of timm), by sums over "
            "the size that an export for any size does not end with: leave --dynamic out, "
            "and give the --size of your frames"
        )
    free = torch.export.Dim.DYNAMIC
    inputs = tuple(graph.inputs.values())
    shapes: list[Any] = [{2: free, 3: free} if m.ndim == 4 else None for m in inputs]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(
                graph.module,
                inputs,
                dynamic_shapes=(tuple(shapes),) if dynamic else None,
                strict=False,
            )
    except Exception as error:  # an exporter has no end of ways to fail
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        cure = "; without --dynamic it may be" if dynamic else ""
        raise ValueError(
            f"{graph.name} of this model cannot be exported by torch {torch.__version__} "
            f"({reason}){cure}"
        ) from error
