"""What the parts promise to whoever joins them: shapes, units, and who asks for what.

Whatever has the methods serves. A task inherits from `Task` for the answers that it does not give.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn


class FeatureNetwork(Protocol):
    """The expensive network, N_feat."""

    def __call__(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), RGB in [0, 1] -> features (B, C, H/16, W/16), rounded up."""


class FlowNetwork(Protocol):
    """Flow, and a field that warped features are multiplied by.

    With `prepare(key)` it makes something of the key frame alone, and takes that in its place.
    """

    def __call__(self, current: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) -> flow (B, 2, h, w) and scale field (B, C or 1, h, w).

        The flow is that from the current to the key frame, channel 0 = x, in feature pixels.
        """


class Head(Protocol):
    """A task network, N_task; it never sees which frame its features came from."""

    def __call__(self, features: Tensor) -> Any:
        """Its layers alone, which `complexity` counts; features (B, C, h, w)."""

    def loss(self, features: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parts of the loss, scalars to be summed; one of them is `train/loss_NAME` in the log.

        Even over nothing a part is computed from the features: DDP wants each gradient each step.
        `targets` is a batch of pairs, see `Pair` in `dff.data.samples`.
        """

    def predict(self, features: Tensor, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """The result of each image, (B, ...).

        Args:
            features: (B, C, h, w).
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


class ResultFiles(Protocol):
    """The files of one task and one video.

    They are in a folder of their own until the video is finished, and move to the others with it.
    """

    def write(self, interval: Mapping[str, Any], found: Tensor) -> None:
        """Adds the results (n, ...) of the frames of an `Interval` (`dff.data.samples`)."""

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
    def head(self, channels: int) -> nn.Module:
        """A `Head` for features of so many channels."""

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
