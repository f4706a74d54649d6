"""Graphs compiled by AOTInductor, and PyTorch running them without the model's code.

A file runs where it was made: with the same version of PyTorch, on the same kind of processor.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dff.inference.export.description import KEY, Description, from_json
from dff.inference.export.graphs import Graph
from dff.inference.export.tracing import traced


def write(graph: Graph, folder: Path, description: Description) -> None:
    """Writes a graph to `NAME.pt2` in a folder, with the description among its metadata.

    Raises:
        ValueError: There is no compiler, or it fails.
    """
    program = traced(graph, description.dynamic)
    settings = {
        "freezing": True,  # weights are laid out now, not in each call
        "aot_inductor.metadata": {KEY: description.to_json(graph.name)},
    }
    file = folder / f"{graph.name}.pt2"
    try:
        with _quiet():
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(file), inductor_configs=settings
            )
    except Exception as error:  # a compiler has no end of ways to fail
        raise ValueError(
            f"AOTInductor of torch {torch.__version__} cannot compile {graph.name} "
            f"({_first_line(error)}): it needs a C++ compiler such as g++; --format onnx needs none"
        ) from error


class Pt2Graphs:
    """The graphs of a folder as AOTInductor compiled them; each is read when it first runs.

    Args:
        folder: Of an export.

    Raises:
        FileNotFoundError: There is no export of this format.
        ValueError: The files are of something else, or of another torch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, Any] = {}
        text = self._graph("key").get_metadata().get(KEY, "")
        self.description = from_json(text, folder / "key.pt2")

    def run(
        self, name: str, inputs: Sequence[Tensor], wanted: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Some outputs of a graph, or all of them, on inputs in their order.

        Raises:
            FileNotFoundError: There is no such graph.
            ValueError: It takes other inputs, such as frames of another size.
        """
        graph = self._graph(name)
        said = self.description
        # compiled code may write beyond its memory where a size is not what it was made for
        said.check_frames(name, inputs)
        try:
            found = graph(*(value.contiguous() for value in inputs))
        except RuntimeError as error:
            shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
            raise ValueError(f"{name}.pt2 cannot run on {shapes}: {_first_line(error)}") from error
        outputs = dict(zip(said.graphs[name][1], found, strict=True))
        return [outputs[one] for one in wanted or outputs]

    def _graph(self, name: str) -> Any:
        if name not in self._loaded:
            file = self.folder / f"{name}.pt2"
            if not file.is_file():
                raise FileNotFoundError(
                    f"there is no {name}.pt2 in {self.folder}: give a folder that dff export "
                    "--format pt2 wrote"
                )
            try:
                with _quiet():
                    self._loaded[name] = torch._inductor.aoti_load_package(str(file))
            except Exception as error:
                raise ValueError(
                    f"torch {torch.__version__} does not take {file} ({_first_line(error)}): it "
                    "runs with the torch and on the kind of processor that it was made with; "
                    "export again here"
                ) from error
        return self._loaded[name]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


@contextlib.contextmanager
def _quiet() -> Any:
    """The compiler tells programmers of what it does; its errors come all the same."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
