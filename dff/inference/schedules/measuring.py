"""What a schedule costs on a model's device, all that it looks at included."""

import time
from collections.abc import Sequence
from itertools import islice

import torch

from dff.inference.model import Model
from dff.inference.recognizer import stream
from dff.inference.schedules.observation import LabelledFrames
from dff.models.schedule import Schedule


@torch.inference_mode()
def measured_fps(
    model: Model, videos: Sequence[LabelledFrames], schedule: Schedule, frames: int = 200
) -> float:
    """Frames per second of the networks, one frame at a time.

    Args:
        model: On its device.
        videos: Of which as many are run as `frames` needs.
        schedule: Is asked about each frame.
        frames: After so many frames no further video is begun.
    """
    device = torch.device(model.device)
    for _ in islice(stream(model.networks, videos[0].frames.split(1), schedule), 3):
        pass  # the first frames allocate and lay out
    done, seconds = 0, 0.0
    for video in videos:
        if done >= frames:
            break
        started = time.perf_counter()
        for _ in stream(model.networks, video.frames.split(1), schedule, video.size):
            done += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds += time.perf_counter() - started
    return done / seconds
