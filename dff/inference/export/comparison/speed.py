"""How fast an export runs beside the model in PyTorch, on the same frames in the same run."""

import statistics
from pathlib import Path
from typing import NamedTuple

import torch

from dff.inference.deploy.deployment import deploy
from dff.inference.export.comparison.frames import moving_frames
from dff.inference.export.description import Format
from dff.inference.export.formats import open_graphs
from dff.inference.export.networks import exported_networks
from dff.inference.speed import measure_speed
from dff.models.dff import DeepFeatureFlow

KEY_DURATION = 5


class Times(NamedTuple):
    """Milliseconds of a key frame and of another, labels and boxes included."""

    runtime: str
    key: float
    current: float

    def __str__(self) -> str:
        return f"{self.runtime}: {self.key:.0f} ms a key frame, {self.current:.1f} ms another"


def compare_speed(
    model: DeepFeatureFlow, folder: Path, format: Format, size: tuple[int, int], rounds: int = 5
) -> list[Times]:
    """Times an export and the deployed model in turn; the medians over the rounds.

    Args:
        model: The model that was exported, on the CPU.
        folder: Of the export.
        format: Of its files.
        size: Height and width of the frames.
        rounds: Of measurements, after a warm-up.

    Raises:
        ValueError: The engine cannot run this export, which has no steps.
    """
    with torch.inference_mode():
        ours = deploy(model.eval().to(memory_format=torch.channels_last))
    networks, _ = exported_networks(open_graphs(folder, format))
    models = {"PyTorch": ours, f"the export in {format}": networks}
    frames = moving_frames(KEY_DURATION, size)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, one in models.items():
            (speed,) = measure_speed(one, frames, [KEY_DURATION], rounds=1)
            taken[name].append((speed.ms_key, speed.ms_current or 0.0))
    return [
        Times(name, *(statistics.median(some) for some in zip(*times[1:], strict=True)))
        for name, times in taken.items()
    ]
