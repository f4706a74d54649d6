"""What an export says of itself: it is written into each of its graphs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

Format = Literal["onnx", "pt2"]
Precision = Literal["fp32", "fp16", "bf16"]
Suppression = Literal["outside", "inside"]
KEY = "dff"
"""Of the JSON among the metadata of a graph."""
LEAST_SIDE = {"onnx": 64, "pt2": 160}
"""Of frames where they may be of any size: what is compiled for maps of several pixels is wrong for
one, and a flow network has stride 128."""
MULTIPLE = {"onnx": 1, "pt2": 32}
"""Of what the sides must be then: what AOTInductor (torch 2.14) compiled crashed at 73x121 and at
129x169, perhaps where pooling counts a cut cell."""
VERSION = 1
"""Of what is described here; a reader refuses others."""
SETTINGS = ("heads", "num_classes", "num_box_classes", "detection", "box_metric")
"""Of a model, those that its tasks are made of."""


@dataclass(frozen=True)
class Description:
    """What another program, and the engine, must know of an export.

    Attributes:
        format: Of the files.
        precision: Of the convolutions and the features.
        size: Height and width of the frames.
        dynamic: Whether frames may have another size.
        warp: How features are sampled: by GridSample, or by Gather.
        suppression: Where overlapping boxes are suppressed, outside or inside of the graphs.
        channels: Of each level of the features.
        strides: Image pixels along a side of one pixel of each level.
        flow_network: Name of the flow network.
        flow_from: Whether flow comes from the key frame alone ("key") or by way of the frame before
            ("warm", "chain").
        flow_stride: Image pixels along a side of one pixel of the flow.
        normalisation: Mean and std that the graphs subtract and divide by; frames come as RGB in
            0..1.
        names: Classes and colours of each task, as the task saves them.
        settings: Of the model's tasks.
        graphs: Graph -> names of its inputs and of its outputs.
        update: Whether a light network looks at each non-key frame.
        made_with: Versions.
    """

    format: Format
    precision: Precision
    size: tuple[int, int]
    dynamic: bool
    warp: str
    suppression: Suppression
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    flow_network: str
    flow_from: str
    flow_stride: int
    normalisation: Mapping[str, list[float]]
    names: Mapping[str, Any]
    settings: Mapping[str, Any]
    graphs: Mapping[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    update: bool = False
    made_with: Mapping[str, str] = field(default_factory=dict)

    def takes(self, height: int, width: int) -> bool:
        """Whether frames may have this size."""
        return takes(self.format, self.dynamic, self.size, (height, width))

    def check_frames(self, graph: str, inputs: Sequence[Tensor]) -> None:
        """Refuses frames of a size that the export does not take.

        Args:
            graph: That is to run.
            inputs: Of it, in their order.

        Raises:
            ValueError: A frame has another size.
        """
        for value, name in zip(inputs, self.graphs[graph][0], strict=True):
            height, width = value.shape[-2:]
            if "frame" not in name or self.takes(height, width):
                continue
            if not self.dynamic:
                wanted = f"{self.size[0]} x {self.size[1]}"
                cure = " or with --dynamic" if self.format == "onnx" else ""
            elif (multiple := MULTIPLE[self.format]) > 1:
                wanted = f"multiples of {multiple} from {LEAST_SIDE[self.format]} on"
                cure = " and without --dynamic"
            else:  # some graphs take a smaller one
                continue
            raise ValueError(
                f"frames of {height} x {width} pixels for an export in {self.format} that takes "
                f"{wanted}: export with --size {height} {width}{cure}"
            )

    def to_json(self, graph: str = "") -> str:
        """As text; `graph` is the one that it is written into."""
        return json.dumps({"version": VERSION, "graph": graph, **asdict(self)}, indent=1)


def takes(format: Format, dynamic: bool, size: tuple[int, int], frame: tuple[int, int]) -> bool:
    """Whether an export of a size takes frames of another, or of the same.

    Args:
        format: Of its files.
        dynamic: Whether frames may be of any size.
        size: Of the export.
        frame: Of the frames.
    """
    if not dynamic:
        return size == frame
    least, multiple = LEAST_SIDE[format], MULTIPLE[format]
    return all(side >= least and side % multiple == 0 for side in frame)


def from_json(text: str, source: object) -> Description:
    """Reads what `to_json` wrote.

    Args:
        text: The text.
        source: Where it comes from, for the message.

    Raises:
        ValueError: It says something else.
    """
    cure = "export the checkpoint again"
    try:
        said = json.loads(text)
        version = said.pop("version")
        del said["graph"]
        if version != VERSION:
            raise ValueError(f"{source} was written in form {version}, wanted {VERSION}: {cure}")
        said |= {name: tuple(said[name]) for name in ("size", "channels", "strides")}
        found = Description(**said)
        if found.format not in get_args(Format) or found.suppression not in get_args(Suppression):
            raise KeyError("format")
        return found
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{source} is no export of this project: {cure}") from error
