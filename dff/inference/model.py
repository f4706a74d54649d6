"""A trained model without Lightning: load it, and let it see videos."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import Clip, clips_of_frames
from dff.data.video.sources import find_videos
from dff.inference.deploy.deployment import deploy
from dff.inference.deploy.device import usable_device
from dff.inference.engine import Engine, Result, read_clips
from dff.inference.results.drawing import draw_predictions
from dff.inference.tasks.choice import tasks_of
from dff.models import build
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.names import FlowFrom
from dff.models.schedule import FixedSchedule, Schedule
from dff.models.weights.files import check_finite, plain_names, read_torch
from dff.models.weights.ready import ready_flow_network

Source = str | Path | Iterable[np.ndarray]
"""A video file, a folder of frames or of videos, a glob; or frames (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class FrameResult:
    """What was found on one frame.

    Attributes:
        index: Number of the frame in its video, from 0.
        time: When it is shown, in seconds after the first frame.
        is_key: Whether it is a key frame.
        frame: The frame, (H, W, 3) uint8 RGB.
        found: Name of a task -> its result in arrays, such as `Labels` or `Detections`.
        result: The clip that it belongs to, with the tensors.
        tasks: Of the model, which can draw.
    """

    index: int
    time: float
    is_key: bool
    frame: np.ndarray
    found: Mapping[str, Any]
    result: Result
    tasks: Mapping[str, Task]

    def __getitem__(self, task: str) -> Any:
        """The result of a task."""
        return self.found[task]

    def drawn(self, threshold: float = 0.5) -> np.ndarray:
        """The frame under its results, (H, W, 3) uint8; boxes of at least that score."""
        i = self.index - self.result.clip.start
        predictions = {n: v[i : i + 1] for n, v in self.result.predictions.items()}
        frames = self.result.clip.frames[i : i + 1]
        return draw_predictions(frames, predictions, self.tasks, threshold)[0].numpy()


class Model:
    """A trained model on a device.

    Args:
        networks: In eval mode, on the device; best rewritten by `deploy`.
        tasks: Of their heads.
        device: Where they run.
    """

    def __init__(
        self,
        networks: DeepFeatureFlow,
        tasks: Mapping[str, Task],
        device: torch.device | str = "cpu",
    ) -> None:
        self.networks, self.tasks, self.device = networks, dict(tasks), torch.device(device)

    def engine(self, schedule: Schedule) -> Engine:
        """An engine that runs the model by a schedule."""
        return Engine(self.networks, schedule, self.device)

    def stream(
        self,
        source: Source,
        key_duration: int = 5,
        *,
        schedule: Schedule | None = None,
        short_side: int | None = None,
        max_side: int | None = None,
    ) -> Iterator[FrameResult]:
        """Recognises a video frame by frame, while it is read.

        Args:
            source: The video, or frames as they come.
            key_duration: One key frame in every so many frames.
            schedule: Another schedule than the fixed one.
            short_side: The networks see frames of this shorter side; None leaves them. Results have
                the size of the video.
            max_side: With `short_side`, most pixels of the longer side.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The source or the schedule is something else, the video cannot be read, or
                its frames cannot be recognised; the results of the frames before that have been
                given.
        """
        if schedule is None:
            schedule = FixedSchedule(key_duration)
        elif not hasattr(schedule, "is_key"):
            raise ValueError(
                f"schedule {schedule!r}: wanted an object with is_key, as "
                'dff.models.schedules.named.named_schedule("change", 10) makes'
            )
        resizing = EvaluationTransform(short_side, max_side)
        if isinstance(source, str | Path):
            videos = find_videos([source])
            clips: Iterable[Clip] = read_clips(
                videos, schedule, resizing, device=self.device, motion=self.networks.from_file
            )
        else:
            clips = clips_of_frames(_pictures(source), resizing)
        for result in self.engine(schedule).run(clips):
            if result.error is not None:
                raise ValueError(result.error)
            yield from self._by_frame(result)

    def _by_frame(self, result: Result) -> Iterator[FrameResult]:
        clip = result.clip
        pictures = clip.frames.permute(0, 2, 3, 1).numpy()
        for i, picture in enumerate(pictures):
            found = {
                name: task.as_arrays(result.predictions[name][i])
                for name, task in self.tasks.items()
            }
            yield FrameResult(
                clip.start + i,
                clip.times[i],
                result.key_frames[i],
                picture,
                found,
                result,
                self.tasks,
            )


def _pictures(source: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames as they come; what is something else is refused."""
    cure = "wanted frames as arrays (H, W, 3), or the path of one video"
    if not isinstance(source, Iterable):
        raise ValueError(f"a source of type {type(source).__name__}: {cure}")
    for number, picture in enumerate(source):
        if not isinstance(picture, np.ndarray):
            raise ValueError(f"frame {number} of the source is {reprlib.repr(picture)}: {cure}")
        yield picture


def load(
    file: str | Path,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    flow_network: str | None = None,
    flow_from: FlowFrom | None = None,
    tasks: Sequence[Task] = (),
) -> Model:
    """A trained model from a checkpoint, ready for videos; nothing in the file is executed.

    Args:
        file: A checkpoint that training wrote.
        device: Where it runs; None is a GPU where there is one.
        dtype: Of the convolutions: float32, bfloat16 or float16.
        compiled: Through `torch.compile`: slow at first, for long videos.
        flow_network: A flow that needs no training, in place of the one that the model was trained
            with: a classical one, or "light".
        flow_from: How the flow to a key frame is found, where not as in training.
        tasks: Tasks of your own that the checkpoint's heads name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint of a model, its weights are not finite, or there is no such
            device.
    """
    device = usable_device(device)
    networks, found, _ = read_model(file, flow_network, flow_from, tasks)
    networks = networks.eval().to(device).to(memory_format=torch.channels_last)
    return Model(deploy(networks, dtype, compiled), found, device)


def read_model(
    file: str | Path,
    flow_network: str | None = None,
    flow_from: FlowFrom | None = None,
    tasks: Sequence[Task] = (),
) -> tuple[DeepFeatureFlow, dict[str, Task], dict[str, Any]]:
    """The networks of a checkpoint as they were trained, their tasks, and the model's settings.

    Arguments and errors as those of `load`.
    """
    checkpoint = read_checkpoint(file)
    settings = checkpoint["hyper_parameters"]
    cure = "give a checkpoint that `dff fit` wrote"
    try:
        found = tasks_of(settings, tasks)
        networks = build.networks(settings, list(found.values()))
        state = plain_names(checkpoint["state_dict"])
        networks.load_state_dict(
            {name.removeprefix("model."): value for name, value in state.items()}
        )
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{file} does not fit this version of the model ({str(error).splitlines()[0]}): {cure}"
        ) from error
    for task in found.values():
        task.load_names(checkpoint)
    if flow_network is not None:
        networks.use_flow(ready_flow_network(flow_network))
    networks.flow_from = flow_from or networks.flow_from
    return networks, found, settings


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """What a training of a whole model saved: settings, weights, names of classes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, or its weights are not finite.
    """
    file = Path(file)
    for runtime in ("onnx", "pt2"):
        folder = file.parent if file.suffix == f".{runtime}" else file
        if (folder / f"key.{runtime}").is_file():
            raise ValueError(
                f"{file} is {'an export' if folder == file else 'a file of an export'}: wanted a "
                f"checkpoint, or dff predict with the folder {folder} and --runtime {runtime}"
            )
    cure = "give a checkpoint that dff fit wrote for a LitDFF model"
    convert = (
        f"it has no settings of a model; dff convert {file} model.ckpt makes a "
        "checkpoint of the official detection model, and --model.weights of dff fit begins "
        "a training from it"
    )
    checkpoint = read_torch(file, "a checkpoint", cure, convert)
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if isinstance(settings, dict) and "per_frame_model" in settings:
        model = settings["per_frame_model"]
        raise ValueError(
            f"{file} holds the flow network that was trained for {model}: give --model {model} "
            f"--flow_network {settings['flow_network']} --flow_weights {file} in its place"
        )
    if not isinstance(settings, dict) or "feature_network" not in settings:
        kind = (
            "a flow network's checkpoint"
            if isinstance(settings, dict) and "flow_network" in settings
            else "no checkpoint of this project"
        )
        if isinstance(checkpoint, dict) and any(
            isinstance(value, torch.Tensor) for value in checkpoint.values()
        ):
            raise ValueError(
                f"{file} is {kind}, it holds weights alone: give a checkpoint that dff fit wrote, "
                f"or what dff convert {file} model.ckpt makes of the official detection model; "
                "--model.weights of dff fit begins a training from it"
            )
        raise ValueError(f"{file} is {kind}: {cure}")
    settings = {k: v for k, v in settings.items() if not k.startswith("_")}
    if not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{file} holds no weights: {cure}")
    check_finite(checkpoint["state_dict"], file)
    return {**checkpoint, "hyper_parameters": settings}
