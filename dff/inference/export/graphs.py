"""The graphs of a model: what goes in, what comes out; all state is outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dff.inference.export.heads import HeadOutputs
from dff.models.contracts import Features, Flow
from dff.models.dff import DeepFeatureFlow, levels_of
from dff.models.flow.from_previous import Trail, flow_from_previous

Heads = Mapping[str, HeadOutputs]
STEPS = ("encode", "flow", "propagate", "head")
"""The graphs of an export with steps, beside `key` and `current`."""


@dataclass(frozen=True)
class Graph:
    """A part of a model to be exported.

    Attributes:
        name: Of the graph and its file.
        module: Takes the inputs in their order, gives a tuple.
        inputs: Examples by name; maps (B, C, h, w) are of any size where an export is dynamic.
            They are contiguous, for compiled code takes its inputs as the examples lie in memory.
        outputs: Names.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


class Part(nn.Module):
    """A function of a model and of some maps as a module.

    Args:
        model: The model.
        function: Takes the maps in their order, gives a tuple.
    """

    def __init__(self, model: DeepFeatureFlow, function: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The maps -> what the function gives, which may be the input of another graph."""
        return tuple(value.contiguous() for value in self.function(*inputs))


@torch.no_grad()
def graphs_of(
    model: DeepFeatureFlow, heads: Heads, frames: Sequence[Tensor], steps: bool
) -> list[Graph]:
    """The graphs of a model, with examples of their inputs.

    `key`: frame -> features, and the outputs of all heads. `current`: frame, key frame and its
    features -> the outputs of all heads; where flow is found by way of the frame before, also the
    flow of that frame (0 for the key frame itself), which it gives for this frame. With `steps`:
    `encode` (frame -> features), `flow` (frame, another frame -> flow, context), `propagate`
    (features, flow, context -> features), `head` (features -> the outputs of all heads). A
    detection has `regions` beside them (maps, regions -> probabilities, boxes).

    Args:
        model: As `exportable` made it.
        heads: Of it.
        frames: A key frame and two that follow it, (1, 3, H, W).
        steps: Whether the steps are wanted too.
    """
    key, before, frame = frames
    features = model.encode(key)
    levels = dict(zip(_level_names(features), levels_of(features), strict=True))
    results = tuple(name for head in heads.values() for name in head.names)
    several = isinstance(features, tuple)

    def joined(maps: Sequence[Tensor]) -> Features:
        return tuple(maps) if several else maps[0]

    def outputs(carried: Features, size: tuple[int, int]) -> tuple[Tensor, ...]:
        deep = model.tail(carried)
        return tuple(m for head in heads.values() for m in head.maps(deep, size))

    def recognize_key(image: Tensor) -> tuple[Tensor, ...]:
        found = model.encode(image)
        return *levels_of(found), *outputs(found, _size(image))

    def recognize(image: Tensor, other: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        return outputs(model.carry(joined(maps), model.find_flow(other, image)), _size(image))

    def recognize_from_previous(
        image: Tensor, other: Tensor, previous_flow: Tensor, *maps: Tensor
    ) -> tuple[Tensor, ...]:
        # of both ways one takes the key frame, the other the frame before
        trail = Trail(other, previous_flow)
        how = (model.flow_from, model.warp_method)
        found = flow_from_previous(model.flow_network, other, image, trail, *how)
        flow = model.told_flow(found.field, image)._replace(context=found.context)
        return found.field, *outputs(model.carry(joined(maps), flow), _size(image))

    def head(image: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        return outputs(joined(maps), _size(image))

    def part(
        name: str,
        function: Callable[..., tuple[Tensor, ...]],
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
    ) -> Graph:
        examples = {name: value.contiguous() for name, value in inputs.items()}
        return Graph(name, Part(model, function), examples, tuple(outputs))

    graphs = [part("key", recognize_key, {"frame": key}, (*levels, *results))]
    flow = model.find_flow(key, before)
    if model.flow_from == "key":
        inputs = {"frame": frame, "key_frame": key, **levels}
        graphs.append(part("current", recognize, inputs, results))
    else:
        warm = model.flow_from == "warm"
        other = {"key_frame": key} if warm else {"previous_frame": before}
        inputs = {"frame": frame, **other, "previous_flow": flow.field, **levels}
        graphs.append(part("current", recognize_from_previous, inputs, ("flow", *results)))
    start, found = 0, outputs(features, _size(key))
    for one in heads.values():
        own = one.graphs(found[start : start + len(one.names)], _size(key))
        graphs += [part(name, *how) for name, how in own.items()]
        start += len(one.names)
    if steps:
        graphs += _steps(model, part, key, frame, levels, joined)
        graphs.append(part("head", head, {"frame": key, **levels}, results))
    return graphs


def _steps(
    model: DeepFeatureFlow,
    part: Callable[..., Graph],
    key: Tensor,
    frame: Tensor,
    levels: Mapping[str, Tensor],
    joined: Callable[[Sequence[Tensor]], Features],
) -> list[Graph]:
    flow = model.find_flow(key, frame)
    context = {} if flow.context is None else {"context": flow.context}
    seen = {"frame": frame} if model.update is not None else {}
    carried = tuple(name.replace("features", "carried") for name in levels)

    def encode(image: Tensor) -> tuple[Tensor, ...]:
        return levels_of(model.encode(image))

    def find_flow(image: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        found: Flow = model.flow_network(image, other)
        return (found.field,) if found.context is None else (found.field, found.context)

    def propagate(field: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        context_map, rest = (maps[0], maps[1:]) if context else (None, maps)
        image, rest = (rest[0], rest[1:]) if seen else (None, rest)
        return levels_of(model.carry(joined(rest), Flow(field, context_map, None, image)))

    return [
        part("encode", encode, {"frame": key}, tuple(levels)),
        part("flow", find_flow, {"frame": frame, "other_frame": key}, ("flow", *context)),
        part("propagate", propagate, {"flow": flow.field, **context, **seen, **levels}, carried),
    ]


def _level_names(features: Features) -> list[str]:
    if not isinstance(features, tuple):
        return ["features"]
    return [f"features_{i}" for i in range(len(features))]


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]
