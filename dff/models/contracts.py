"""What the parts promise to whoever joins them: shapes, units, and who asks for what.

Whatever has the methods serves. A task inherits from `Task` for the answers that it does not give.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

STRIDE = 16
"""Image pixels along a side of one feature pixel in the paper; other networks tell their own."""

Features = Tensor | tuple[Tensor, ...]
"""What a feature network gives: one map (B, C, h, w), or one for each of several levels."""


class FeatureNetwork(Protocol):
    """The expensive network, N_feat.

    `channels` and `strides`: of each level, fine to coarse; (1024,) and (16,) in the paper. A level
    has one pixel for `stride` x `stride` image pixels, rounded up at the border. A network that
    resizes the image itself has a method `strides_for(size)` beside them, which gives the strides
    (of rows, of columns) in the pixels of an image of this height and width.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, image: Tensor) -> Features:
        """Image (B, 3, H, W), RGB in [0, 1] -> its features; a tuple where there are levels."""


class Flow(NamedTuple):
    """What a flow network finds.

    `field`: (B, 2, h, w) float32, from the current to the key frame, channel 0 = x, in image
    pixels. `context`: a map (B, M, h, w) that a scale field can be read from, None where there is
    none. `size`: height and width of the frames, which `DeepFeatureFlow` fills in; and `current`,
    the current frames (B, 3, H, W), where it has an update branch that looks at them.
    """

    field: Tensor
    context: Tensor | None = None
    size: tuple[int, int] | None = None
    current: Tensor | None = None

    def rows(self, chosen: Tensor | slice) -> "Flow":
        """The flow of some frames of the batch, by their rows."""
        context, current = (
            None if rows is None else rows[chosen] for rows in (self.context, self.current)
        )
        return self._replace(field=self.field[chosen], context=context, current=current)


class PreparedKey(NamedTuple):
    """A key frame as a flow network takes it soonest: what it makes of that frame alone."""

    shape: torch.Size
    """Of the key frame: (B, 3, H, W)."""
    parts: tuple[Tensor, ...]
    """One map (B, ., ., .) or several."""


class FlowNetwork(Protocol):
    """Finds the flow between two frames; a classical algorithm serves as well.

    `stride`: image pixels along a side of one pixel of the flow. `context_channels`: M of `Flow`, 0
    where there is no context. With `prepare(key)` it makes something of the key frame alone, and
    takes that in its place.
    """

    stride: int
    context_channels: int

    def __call__(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W), RGB in [0, 1]."""


class Fusion(Protocol):
    """Makes layers for inference out of trained ones, for networks that can fuse themselves.

    Such a network, head or layer has a method `fused(fusion)`. It gives what takes its place in a
    deployed model, which may be the network itself with other layers: it is asked of a copy. A
    network without this method is rewritten layer by layer, or stays as it is.

    `splits_pairs`: whether the first layer of a flow network is to take the two frames apart.
    `label_map`: scores (B, K, h, w) float32 and a size (H, W) -> labels (B, H, W) uint8.
    """

    splits_pairs: bool
    label_map: Callable[[Tensor, tuple[int, int]], Tensor]

    def convolution(
        self,
        layer: nn.Conv2d,
        norm: nn.BatchNorm2d | None = None,
        slope: float = 1.0,
        exact: bool = False,
    ) -> nn.Module:
        """A convolution with what follows it.

        The module made takes a map (B, I, h, w) and, unless it is a dilated one, `added`, which it
        adds before the activation, and `slope`, another one than its own.

        Args:
            layer: The convolution.
            norm: The batch norm after it.
            slope: Of the leaky ReLU after that: 0 is ReLU, 1 nothing at all.
            exact: Whether it is computed in float32 in any case.
        """

    def deconvolution(self, layer: nn.ConvTranspose2d, slope: float = 1.0) -> nn.Module:
        """A 4x4 deconvolution of stride 2, with what follows it."""

    def rewrite(self, module: nn.Module) -> None:
        """Replaces the layers within a module, joining what stands in its sequences."""


class Head(Protocol):
    """A task network, N_task; it never sees which frame its features came from."""

    def __call__(self, features: Features) -> Any:
        """Its layers alone, which `complexity` counts."""

    def loss(self, features: Features, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts of the loss, scalars to be summed; one of them is `train/loss_NAME` in the log.

        Even over nothing a part is computed from the features: DDP wants each gradient each step.
        `targets` is a batch of pairs, see `Pair` in `dff.data.samples`.
        """

    def predict(self, features: Features, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """The result of each image, (B, ...).

        Args:
            features: Of the images, (B, C, h, w) or a tuple of levels.
            size: Height and width of the images that the results are for.
            frame: Those of the frames that the networks saw, resized from these images.
        """


class Measure(NamedTuple):
    """What the accuracy of a task is called; the higher, the better.

    `name`: in logs and reports, as `val/NAME` and `NAME_mean`. `title`: in tables and pictures.
    `of_class`: that of one class, in logs. `groups`: kinds of objects that it is also given for.
    `over_runs`: whether it is also given over whole snippets, being no mean over frames.
    """

    name: str
    title: str
    of_class: str = ""
    groups: tuple[str, ...] = ()
    over_runs: bool = False


class Accuracy(Protocol):
    """How accuracy by gap is counted: values in, values out, in any order and on any machine."""

    @property
    def sums(self) -> Mapping[str, Tensor]:
        """Zeros, which what a batch counts is added to."""

    @property
    def rows(self) -> Mapping[str, Tensor]:
        """No rows, (0, ...), which the rows that a batch counts are appended to."""

    def count(self, found: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a batch adds, by the names of `sums` and `rows`.

        Args:
            found: Results (B, ...) of images of the size of the truth.
            batch: The same rows of a batch of pairs, without the frames.
        """

    def result(self, counted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that was counted -> `by_gap` (gaps,), `by_class` (classes,), NaN where unknown.

        Beside them (gaps,) for each of the measure's groups that anything is known of.
        """


class Panel(NamedTuple):
    """Result and truth of one pair: title -> picture (H, W, 3) or (H, W) uint8.

    `boxes`, for loggers that draw them themselves: title -> `predictions` and `ground_truth`, rows
    x1, y1, x2, y2, score, class.
    """

    pictures: Mapping[str, Tensor]
    boxes: Mapping[str, Mapping[str, list[list[float]]]] = {}


class FramesOfVideo(Protocol):
    """Consecutive frames of a video, such as a `Clip` of `dff.data.video.clips`."""

    @property
    def start(self) -> int:
        """Number of the first one in its video, from 0."""

    @property
    def times(self) -> Sequence[float]:
        """When each is shown, in seconds after the video's first one."""

    @property
    def frame_names(self) -> Sequence[str] | None:
        """Names of the images without suffix, where the video is a folder."""


class ResultFiles(Protocol):
    """The files of one task and one video.

    They are in a folder of their own until the video is finished, and move to the others with it.
    """

    def write(self, clip: FramesOfVideo, found: Tensor) -> None:
        """Adds the results (n, ...) of consecutive frames."""

    def close(self) -> None:
        """Writes what is left; from here on the files are whole."""

    def abort(self) -> None:
        """Removes what has been written, as far as the disk allows it."""


class Task(Protocol):
    """All that is particular to one kind of result.

    `name`: of its head and its results. `targets`: what its loss and its accuracy read of a batch
    of pairs. `classes`: their names, in the log. `suffixes`: what follows a video's name in those
    of its files.
    """

    name: str
    measure: Measure
    targets: tuple[str, ...]
    classes: Sequence[str] = ()
    suffixes: tuple[str, ...] = ()

    @abstractmethod
    def head(self, channels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Module:
        """A `Head` for the features of a `FeatureNetwork` with these `channels` and `strides`."""

    @abstractmethod
    def accuracy(self, gaps: Sequence[int]) -> Accuracy:
        """What counts the accuracy at each of some gaps."""

    def cut(self, channels: int) -> tuple[nn.Module, nn.Module, int] | None:
        """The head in two, for scores to be propagated (split point 0 of Table 5); None: it cannot.

        The layer that scores the features, a head on the scores, and how many of them there are.
        """
        return None

    def take_names(self, data: Any, trains: bool) -> None:
        """Takes names and colours from a data module; ValueError where it has not what it needs.

        `trains`: whether a training begins, which alone can be told to take other settings.
        """

    def saved_names(self) -> dict[str, Any]:
        """Names and colours for a checkpoint, under keys of its own."""
        return {}

    def load_names(self, saved: Mapping[str, Any]) -> None:
        """Takes names and colours back from a checkpoint."""

    def draw(self, pictures: Tensor, found: Tensor, threshold: float) -> Tensor:
        """Draws results (n, ...) with at least that score on pictures (n, H, W, 3) uint8."""
        return pictures

    def as_targets(self, found: Tensor) -> dict[str, Tensor]:
        """Results (B, ...) as the targets of a batch, to tell how far other results agree."""
        raise NotImplementedError(f"the task {self.name} cannot compare results with results")

    def summary(self, found: Tensor) -> dict[str, Any]:
        """What of the result of one frame is said in a line of JSON; nothing unless a task says."""
        return {}

    def as_arrays(self, found: Tensor) -> Any:
        """The result (...) of one frame, on the CPU, as a person would want it in Python."""
        return found.numpy()

    def panel(self, picture: Tensor, found: Tensor, batch: Mapping[str, Tensor]) -> Panel:
        """Result (...) and truth of a batch of one pair; `picture` is its current frame.

        That is (H, W, 3) uint8; all is on the CPU.
        """
        return Panel({})

    def files(self, folder: Path, name: str, labels: str) -> ResultFiles | None:
        """What writes the results of the video `name` to a folder; None writes nothing.

        Each is called `name` and one of `suffixes`. `labels`: ids in label pictures, "train" or
        "cityscapes"; "none" wants no pictures.
        """
        return None


def only_level(task: str, channels: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """Channels and stride of the features of a feature network, for a head that takes one level.

    Raises:
        ValueError: There are several levels.
    """
    if len(channels) != 1:
        raise ValueError(
            f"the feature network gives {len(channels)} levels (strides "
            f"{', '.join(map(str, strides))}), and the head of {task} takes one: join them in the "
            "feature network, or give a head that takes levels"
        )
    return channels[0], strides[0]
