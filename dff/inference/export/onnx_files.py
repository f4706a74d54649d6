"""Graphs as ONNX files, and ONNX Runtime running them; extra `dff[onnx]`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dff.inference.export.description import KEY, Description, from_json
from dff.inference.export.graphs import Graph
from dff.inference.export.tracing import traced

OPSET = 18
"""From 20 on `GridSample` names its modes anew, and TensorRT then takes the nearest pixel without a
word. Below 16 there is no `GridSample`."""
LARGEST = 1_500_000_000
"""Bytes of weights up to which they are in the file; protobuf allows 2 GB."""


def wanted_module(name: str) -> Any:
    """A module of the extra.

    Raises:
        ImportError: It is not there.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"ONNX needs {name}, which is not installed: pip install 'dff[onnx]'"
        ) from error


def write(graph: Graph, folder: Path, description: Description) -> None:
    """Writes a graph to `NAME.onnx` in a folder, with the description among its metadata.

    Raises:
        ImportError: The extra is not installed.
        ValueError: The exporter made another opset than the one asked for.
    """
    for name in ("onnx", "onnxscript"):
        wanted_module(name)
    program = traced(graph, description.dynamic)
    weights = sum(p.numel() * p.element_size() for p in graph.module.parameters())
    with _quiet():
        made = torch.onnx.export(
            program,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    assert made is not None
    found = made.model.opset_imports.get("")
    if found != OPSET:
        raise ValueError(
            f"the exporter of torch {torch.__version__} made opset {found} of {graph.name}, wanted "
            f"{OPSET}: install another torch"
        )
    made.model.metadata_props[KEY] = description.to_json(graph.name)
    made.model.producer_name = "dff"
    made.save(folder / f"{graph.name}.onnx", external_data=weights > LARGEST)


class OnnxGraphs:
    """The graphs of a folder on ONNX Runtime; each is read when it first runs.

    Args:
        folder: Of an export.

    Raises:
        FileNotFoundError: There is no export in ONNX.
        ImportError: ONNX Runtime is not installed.
        ValueError: The files are of something else.
    """

    def __init__(self, folder: Path) -> None:
        self._runtime = wanted_module("onnxruntime")
        self.folder = folder
        self._sessions: dict[str, Any] = {}
        self._chosen = self._runtime.RunOptions()
        # else outputs that nobody asked for are computed too
        self._chosen.only_execute_path_to_fetches = True
        text = self._session("key").get_modelmeta().custom_metadata_map.get(KEY, "")
        self.description = from_json(text, folder / "key.onnx")

    def run(
        self, name: str, inputs: Sequence[Tensor], wanted: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Some outputs of a graph, or all of them, on inputs in their order.

        Raises:
            FileNotFoundError: There is no such graph.
            ValueError: It takes other inputs, such as frames of another size.
        """
        session = self._session(name)
        names, outputs = self.description.graphs[name]
        taken = {one.name for one in session.get_inputs()}  # not what it has no use for
        given = zip(names, inputs, strict=True)
        fed = {name: _array(value) for name, value in given if name in taken}
        try:
            found = session.run(list(wanted or outputs), fed, self._chosen)
        except Exception as error:  # ONNX Runtime's errors have no common class
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in fed.items())
            raise ValueError(
                f"ONNX Runtime cannot run {name} on {shapes}: {_first_line(error)}"
            ) from error
        return [torch.from_numpy(array) for array in found]

    def _session(self, name: str) -> Any:
        if name not in self._sessions:
            file = self.folder / f"{name}.onnx"
            if not file.is_file():
                raise FileNotFoundError(
                    f"there is no {name}.onnx in {self.folder}: give a folder that dff export "
                    "--format onnx wrote"
                )
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 4  # what it has to say comes as an error too
            available = self._runtime.get_available_providers()
            wanted = [p for p in ("CUDAExecutionProvider",) if p in available]
            try:
                self._sessions[name] = self._runtime.InferenceSession(
                    str(file), options, [*wanted, "CPUExecutionProvider"]
                )
            except Exception as error:
                raise ValueError(
                    f"ONNX Runtime {self._runtime.__version__} does not take {file}: "
                    f"{_first_line(error)}"
                ) from error
        return self._sessions[name]


def _array(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter tells programmers of what it looks at; its errors come all the same."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
