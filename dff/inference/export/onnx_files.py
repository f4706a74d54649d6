"""Graphs as ONNX files, and ONNX Runtime running them; extra `dff[onnx]`."""

import contextlib
import io
import logging
import operator
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
            custom_translation_table={
                torch.ops.dff.kept.default: _non_max_suppression,
                torch.ops.aten.sort.stable: _stable_sort,
                operator.floordiv: _floor_division,
            },
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


def _non_max_suppression(boxes: Any, scores: Any, overlap: float, least: float, most: int) -> Any:
    """The node for what `Kept` describes."""
    node = import_module("onnxscript").opset18
    first, floats = node.Constant(value_ints=[0]), (overlap, least)
    found = node.NonMaxSuppression(
        node.Unsqueeze(boxes, first),
        node.Unsqueeze(scores, first),
        node.Constant(value_ints=[most]),
        *(node.Constant(value_floats=[value]) for value in floats),
    )
    one, three = (node.Constant(value_ints=[n]) for n in (1, 3))
    return node.Slice(found, one, three, one)  # of image, class and box the last two


def _stable_sort(
    values: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    """`TopK` of all: of two that are equal the first comes first."""
    node = import_module("onnxscript").opset18
    size = node.Gather(node.Shape(values), node.Constant(value_ints=[dim]), axis=0)
    return node.TopK(values, size, axis=dim, largest=int(descending), sorted=1)


def _floor_division(first: Any, second: Any) -> Any:
    """Of sizes; the exporter's own is that of C, where -145 // 16 is -9."""
    node = import_module("onnxscript").opset18
    return node.Div(node.Sub(first, node.Mod(first, second)), second)


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
        self._sessions: dict[tuple[str, ...], Any] = {}
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
        self.description.check_frames(name, inputs)
        session = self._session(name, *(wanted or ()))
        names, outputs = self.description.graphs[name]
        taken = {one.name for one in session.get_inputs()}  # not what it has no use for
        given = zip(names, inputs, strict=True)
        fed = {name: _array(value) for name, value in given if name in taken}
        try:
            found = session.run(list(wanted or outputs), fed)
        except Exception as error:  # ONNX Runtime's errors have no common class
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in fed.items())
            raise ValueError(
                f"ONNX Runtime cannot run {name} on {shapes}: {_first_line(error)}"
            ) from error
        return [torch.from_numpy(array) for array in found]

    def _session(self, name: str, *wanted: str) -> Any:
        """A graph, all of it or what some of its outputs need."""
        key = (name, *wanted)
        if key not in self._sessions:
            file = self.folder / f"{name}.onnx"
            if not file.is_file():
                raise FileNotFoundError(
                    f"there is no {name}.onnx in {self.folder}: give a folder that dff export "
                    "--format onnx wrote"
                )
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            # idle threads that spin take the processor from those of PyTorch, decoder and writer
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 4  # what it has to say comes as an error too
            available = self._runtime.get_available_providers()
            providers = [p for p in ("CUDAExecutionProvider",) if p in available]
            try:
                source = trimmed(file, wanted) if wanted else str(file)
                self._sessions[key] = self._runtime.InferenceSession(
                    source, options, [*providers, "CPUExecutionProvider"]
                )
            except Exception as error:
                raise ValueError(
                    f"ONNX Runtime {self._runtime.__version__} does not take {file}: "
                    f"{_first_line(error)}"
                ) from error
        return self._sessions[key]


def trimmed(file: Path, outputs: Sequence[str]) -> bytes | str:
    """A graph without what only its other outputs need, which ONNX Runtime would compute too.

    Args:
        file: Of the graph.
        outputs: Names of those that are wanted.

    Returns:
        The graph as bytes; the file's name where its weights are in files beside it.
    """
    onnx = wanted_module("onnx")
    model = onnx.load(str(file), load_external_data=False)
    graph = model.graph
    if any(tensor.external_data for tensor in graph.initializer):
        return str(file)
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    kept_outputs = [output for output in graph.output if output.name in outputs]
    kept_weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    rest = ((graph.node, kept[::-1]), (graph.output, kept_outputs))
    for field, values in (*rest, (graph.initializer, kept_weights)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    found: bytes = model.SerializeToString()
    return found


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
