"""The formats by name: who writes them, and who runs them."""

from collections.abc import Callable
from pathlib import Path

from dff.inference.export import onnx_files, pt2_files
from dff.inference.export.description import Description, Format
from dff.inference.export.graphs import Graph
from dff.inference.export.networks import Graphs


def writer_of(format: Format) -> Callable[[Graph, Path, Description], None]:
    """What writes a graph to a folder."""
    if format == "pt2":
        return pt2_files.write
    return onnx_files.write


def open_graphs(folder: Path, format: Format) -> Graphs:
    """The graphs of an export on the format's runtime.

    Raises:
        FileNotFoundError: There is no export of this format.
        ImportError: The runtime is not installed.
        ValueError: The files are of something else.
    """
    if format == "pt2":
        return pt2_files.Pt2Graphs(folder)
    return onnx_files.OnnxGraphs(folder)
