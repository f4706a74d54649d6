"""The engine's networks, run by another runtime from the graphs of an export."""

from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dff.inference.export.description import Description
from dff.inference.export.graphs import STEPS
from dff.inference.export.heads import HeadOutputs, finished, outputs_of
from dff.inference.tasks.choice import tasks_of
from dff.models.contracts import Features, Flow, PreparedKey, Task
from dff.models.dff import DeepFeatureFlow, Propagation, levels_of
from dff.models.flow.from_previous import Trail
from dff.models.names import FlowFrom
from dff.models.schedule import Wanted


class Graphs(Protocol):
    """The files of an export on a runtime."""

    description: Description

    def run(
        self, name: str, inputs: Sequence[Tensor], wanted: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Some outputs of a graph, or all of them, on inputs in their order."""


class _Encode(nn.Module):
    """The graph `encode` as a feature network."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        said = graphs.description
        self.graphs, self.channels, self.strides = graphs, said.channels, said.strides

    def forward(self, image: Tensor) -> Features:
        """Image (1, 3, H, W) -> features."""
        found = tuple(self.graphs.run("encode", [image]))
        return found if len(self.channels) > 1 else found[0]


class _FindFlow(nn.Module):
    """The graph `flow` as a flow network; whose scale field is read in `propagate`."""

    context_channels = 0

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self.graphs, self.stride = graphs, graphs.description.flow_stride

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W) -> flow, and its context where there is one."""
        rows = zip(current.split(1), key.split(1), strict=True)
        found = [self.graphs.run("flow", pair) for pair in rows]
        field, *context = (torch.cat(maps) for maps in zip(*found, strict=True))
        return Flow(field, context[0] if context else None)


class ExportedSteps(DeepFeatureFlow):
    """A model whose steps run on another runtime; whatever the engine does works with it.

    Args:
        graphs: Of an export with steps.
        heads: Of the model.
    """

    def __init__(self, graphs: Graphs, heads: dict[str, HeadOutputs]) -> None:
        super().__init__(_Encode(graphs), _FindFlow(graphs), {})
        self.graphs, self.outputs = graphs, heads
        self.flow_from = _flow_from(graphs.description)

    def _completed(self, flow: Flow, current: Tensor) -> Flow:
        return flow._replace(current=current)

    def carry(self, features: Features, flow: Flow, mode: Propagation = "full") -> Features:
        """As of every model; "full" alone.

        Raises:
            ValueError: Another mode.
        """
        _only_full(mode)
        assert flow.current is not None
        rows = []
        for i in range(len(flow.field)):
            one, here = flow.rows(slice(i, i + 1)), levels_of(features)
            inputs = [one.field]
            inputs += [] if one.context is None else [one.context]
            inputs += [flow.current[i : i + 1]] if self.graphs.description.update else []
            inputs += [level[i : i + 1] for level in here]
            rows.append(self.graphs.run("propagate", inputs))
        carried = tuple(torch.cat(maps) for maps in zip(*rows, strict=True))
        return carried if isinstance(features, tuple) else carried[0]

    def predict(
        self, features: Features, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """As of every model."""
        frame = frame or size
        return finished(self.outputs, self._maps(features, frame), size, frame, self.graphs.run)

    def confidence(self, features: Features) -> Tensor:
        """As of every model."""
        stride = self.strides[0]
        height, width = levels_of(features)[0].shape[-2:]
        return _confidence(
            self.outputs, self._maps(features, (int(height * stride), int(width * stride)))
        )

    def _maps(self, features: Features, frame: tuple[int, int]) -> list[Tensor]:
        rows = []
        blank = torch.zeros(1, 3, *frame)  # only its size is read
        for i in range(len(levels_of(features)[0])):
            inputs = [blank, *(m[i : i + 1] for m in levels_of(features))]
            rows.append(self.graphs.run("head", inputs, _needed(self.outputs)))
        return [torch.cat(maps) for maps in zip(*rows, strict=True)]


class ExportedPair(DeepFeatureFlow):
    """A model of the graphs `key` and `current` alone, whose flow comes from the key frame.

    What it calls features is all that the frames after a key frame need of it, and what the heads
    gave of it: the frame, its features, the heads' outputs. Carried features are the heads'
    outputs alone: what is between them stays in the graph.

    Args:
        graphs: Of an export.
        heads: Of the model.
    """

    def __init__(self, graphs: Graphs, heads: dict[str, HeadOutputs]) -> None:
        super().__init__(_Encode(graphs), _FindFlow(graphs), {})
        self.graphs, self.outputs = graphs, heads
        self.levels = len(graphs.description.channels)

    def encode(self, image: Tensor) -> Features:
        """Frame (1, 3, H, W) -> all that is kept of it."""
        _, (*outputs,) = self.graphs.description.graphs["key"]
        wanted = [*outputs[: self.levels], *_needed(self.outputs)]
        return image, *self.graphs.run("key", [image], wanted)

    def find_flow(
        self, key: Tensor | PreparedKey, current: Tensor, before: Trail | None = None
    ) -> Flow:
        """The current frames; their flow is found within the graph."""
        return Flow(current.new_zeros(len(current), 2, 1, 1), current=current)

    def carry(self, features: Features, flow: Flow, mode: Propagation = "full") -> Features:
        """What `encode` gave, and frames -> the outputs of the heads.

        Raises:
            ValueError: Another mode than "full".
        """
        _only_full(mode)
        assert flow.current is not None
        state = levels_of(features)[: 1 + self.levels]
        rows = []
        for i, frame in enumerate(flow.current.split(1)):
            inputs = [frame, *(m[i : i + 1] for m in state)]
            rows.append(self.graphs.run("current", inputs, _needed(self.outputs)))
        return tuple(torch.cat(maps) for maps in zip(*rows, strict=True))

    def predict(
        self, features: Features, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """As of every model."""
        maps = self._maps(features)
        return finished(self.outputs, maps, size, frame or size, self.graphs.run)

    def confidence(self, features: Features) -> Tensor:
        """As of every model."""
        return _confidence(self.outputs, self._maps(features))

    def _maps(self, features: Features) -> tuple[Tensor, ...]:
        return levels_of(features)[-sum(head.needed for head in self.outputs.values()) :]


def exported_networks(graphs: Graphs) -> tuple[DeepFeatureFlow, dict[str, Task]]:
    """The networks of an export, for an engine on the CPU, and their tasks.

    Args:
        graphs: Of the export.

    Raises:
        ValueError: There are no steps, and flow comes by way of the frame before.
    """
    said = graphs.description
    tasks = tasks_of(said.settings)
    heads = {}
    for name, task in tasks.items():
        task.load_names(said.names)
        head = task.head(said.channels, said.strides)
        heads[name] = outputs_of(name, head, said.suppression, said.format)
    if set(STEPS) <= said.graphs.keys():
        return ExportedSteps(graphs, heads).eval(), tasks
    if said.flow_from != "key":
        raise ValueError(
            f"this export has no steps, and the flow of its model is {said.flow_from}, by way of "
            "the frame before, which the engine finds step by step: export it with --steps"
        )
    return ExportedPair(graphs, heads).eval(), tasks


def check_schedule(networks: DeepFeatureFlow, wants: Collection[Wanted]) -> None:
    """Refuses a schedule that looks at what stays in the graphs.

    Args:
        networks: Of an export.
        wants: What the schedule looks at.

    Raises:
        ValueError: There are no steps, and it looks at flow.
    """
    if isinstance(networks, ExportedPair) and (looked_at := {"flow", "difference"} & set(wants)):
        raise ValueError(
            f"this export has no steps, and the schedule looks at the {min(looked_at)}, which "
            "stays in its graphs: export it with --steps, or take the fixed schedule"
        )


def _needed(heads: dict[str, HeadOutputs]) -> list[str]:
    return [name for head in heads.values() for name in head.names[: head.needed]]


def _confidence(heads: dict[str, HeadOutputs], maps: Sequence[Tensor]) -> Tensor:
    told, start = [], 0
    for head in heads.values():
        told.append(head.confidence(maps[start : start + head.needed]))
        start += head.needed
    able = [one for one in told if one is not None]
    if not able:
        raise ValueError(
            f"the schedule wants a confidence, and the heads {', '.join(heads)} tell none: take "
            "another schedule"
        )
    return torch.stack(able).amin(0)


def _flow_from(description: Description) -> FlowFrom:
    how = description.flow_from
    if how == "warm":
        return "warm"
    return "chain" if how == "chain" else "key"


def _only_full(mode: Propagation) -> None:
    if mode != "full":
        raise ValueError(f"propagation {mode!r} of an export: its graphs hold the full one alone")
