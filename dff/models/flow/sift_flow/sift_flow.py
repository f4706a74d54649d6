"""SIFT-Flow (Liu, Yuen, Torralba, PAMI 2011): the classical flow of the paper's baseline, SFF."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import cv2
import numpy as np
from torch import Tensor, nn

from dff.models.contracts import Flow
from dff.models.flow.classical import Reduction, check_settings, classical_flow
from dff.models.flow.sift_flow.belief_propagation import minimise
from dff.models.flow.sift_flow.descriptors import LENGTH, dense_sift

SIFTFlowPreset = Literal["fast", "slow"]


@dataclass(frozen=True)
class SIFTFlowSettings:
    """Parameters of SIFT-Flow; the defaults are those of the authors' release.

    Args:
        alpha: Cost of a difference of 1 pixel between neighbours; 255 is the norm of a descriptor.
        d: Cost of a difference at most.
        gamma: Cost of a displacement of 1 pixel at the finest level.
        truncation: Distance of two descriptors at most; also that to what lies outside the key
            picture, so that a pixel may leave it.
        cell_size: Of the descriptors.
        levels: Of the pyramid.
        window: Displacements of up to so many pixels around those of the level above are searched.
        top_window: Likewise at the coarsest level, around 0.
        iterations: Of belief propagation.
        top_iterations: Likewise at the coarsest level.
    """

    alpha: float = 2 * 255
    d: float = 40 * 255
    gamma: float = 0.005 * 255
    truncation: float = 6 * 255
    cell_size: int = 3
    levels: int = 4
    window: int = 2
    top_window: int = 10
    iterations: int = 30
    top_iterations: int = 60


# Top windows of 10 at half size and 16 at full size reach 160 and 128 pixels of the frame. More
# iterations, and larger windows below the top, took up to 3 times as long and gave nothing more.
PRESETS: dict[str, tuple[Reduction, SIFTFlowSettings]] = {
    "fast": (2, SIFTFlowSettings()),
    "slow": (1, SIFTFlowSettings(top_window=16)),
}


class SIFTFlow(nn.Module):
    """Flow by matching SIFT descriptors under a smoothness that lets borders stand.

    The flow has whole pixels of the pictures that it is found on.

    Args:
        preset: "fast" is the authors' default at half size, as for the paper's flow networks;
            "slow" looks at the frames in full size, with a larger window at the coarsest level.
        reduction: The flow is found at 1 / reduction of the frames' size; None is the preset's.
        changes: Single parameters of `SIFTFlowSettings`.

    Raises:
        ValueError: There is no such preset or reduction.
    """

    context_channels = 0

    def __init__(
        self, preset: SIFTFlowPreset = "fast", reduction: Reduction | None = None, **changes: Any
    ) -> None:
        super().__init__()
        usual, settings = PRESETS.get(preset, PRESETS["fast"])
        self.reduction = reduction if reduction is not None else usual
        check_settings("SIFT-Flow", preset, get_args(SIFTFlowPreset), self.reduction)
        self.preset, self.settings = preset, replace(settings, **changes)
        self.stride: int = self.reduction

    def find(self, current: np.ndarray, key: np.ndarray) -> np.ndarray:
        """The flow of two pictures; see `classical_flow.FlowFunction`."""
        return sift_flow(current, key, self.settings)

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W) -> their flow; see `classical_flow`."""
        return classical_flow(self.find, current, key, self.reduction)


def sift_flow(
    current: np.ndarray, key: np.ndarray, settings: SIFTFlowSettings | None = None
) -> np.ndarray:
    """Flow current -> key, coarse to fine.

    Args:
        current: (h, w, 3) or (h, w) uint8.
        key: Likewise.
        settings: None is the authors' default.

    Returns:
        (h, w, 2) float32, whole pixels, x first.
    """
    settings = settings or SIFTFlowSettings()
    pyramid = [(dense_sift(current, settings.cell_size), dense_sift(key, settings.cell_size))]
    for _ in range(settings.levels - 1):
        ours, theirs = pyramid[-1]
        pyramid.append((halve(ours), halve(theirs)))
    flow: np.ndarray = np.zeros((2, *pyramid[-1][0].shape[:2]), np.intp)
    for level in reversed(range(settings.levels)):
        ours, theirs = pyramid[level]
        top = level == settings.levels - 1
        if not top:
            height, width = ours.shape[:2]
            flow = _double(flow, (height, width))
        flow = refine(
            ours,
            theirs,
            flow,
            settings,
            window=settings.top_window if top else settings.window,
            iterations=settings.top_iterations if top else settings.iterations,
            pixel=2**level,
        )
    return np.ascontiguousarray(flow.transpose(1, 2, 0), dtype=np.float32)


def refine(
    current: np.ndarray,
    key: np.ndarray,
    around: np.ndarray,
    settings: SIFTFlowSettings,
    *,
    window: int,
    iterations: int,
    pixel: int = 1,
) -> np.ndarray:
    """One level: the best flow among the displacements near a known one.

    Args:
        current: Descriptors (h, w, 128) uint8.
        key: Likewise.
        around: (2, h, w) int, u and v.
        settings: Costs.
        window: Displacements of up to so many pixels more or less are searched, in u and v.
        iterations: Of belief propagation.
        pixel: Pixels of the finest level in one of this, along a side.

    Returns:
        (2, h, w) int.
    """
    offset = around - window
    candidates = np.arange(2 * window + 1)[:, None, None, None]
    unary = (settings.gamma * pixel * np.abs(offset + candidates)).astype(np.float32)
    data = matching_costs(current, key, offset, 2 * window + 1, settings.truncation)
    labels, _ = minimise(data, unary, offset, settings.alpha, settings.d, iterations)
    flow: np.ndarray = labels + offset
    return flow


def matching_costs(
    current: np.ndarray, key: np.ndarray, offset: np.ndarray, labels: int, truncation: float
) -> np.ndarray:
    """Distances of descriptors, truncated: min(|s_current(p) - s_key(p + w)|_1, truncation).

    Args:
        current: Descriptors (h, w, 128) uint8.
        key: Likewise.
        offset: (2, h, w) int: u and v of label 0.
        labels: L.
        truncation: Cost at most, and outside the key picture.

    Returns:
        (L, L, h, w) float32: label of u, label of v, pixel.
    """
    height, width = current.shape[:2]
    rows, columns = np.indices((height, width))
    ours, theirs = current.reshape(-1, LENGTH), key.reshape(-1, LENGTH)
    costs = np.empty((labels, labels, height, width), np.float32)
    for u in range(labels):
        for v in range(labels):
            x, y = columns + offset[0] + u, rows + offset[1] + v
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            place = y.clip(0, height - 1) * width + x.clip(0, width - 1)
            # OpenCV takes the absolute difference of bytes as bytes: numpy would want 2 of each.
            difference = cv2.absdiff(ours, theirs.take(place.reshape(-1), axis=0))
            distance = cv2.reduce(difference, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
            costs[u, v] = np.where(inside, distance.reshape(height, width), truncation)
    np.minimum(costs, np.float32(truncation), out=costs)
    return costs


def halve(descriptors: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 pixels, the last of an odd number doubled: (ceil(h/2), ceil(w/2), 128)."""
    height, width = descriptors.shape[:2]
    if height % 2 or width % 2:
        descriptors = np.pad(descriptors, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    total = descriptors[::2, ::2].astype(np.uint16)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        total += descriptors[row::2, column::2]
    return ((total + 2) // 4).astype(np.uint8)


def _double(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(2, h, w) int -> (2, *size) int of the level below, in its pixels."""
    height, width = flow.shape[1:]
    # float32 holds these whole numbers; the doubled map may have one row or column too many.
    finer = [
        cv2.resize(
            layer.astype(np.float32), (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR
        )
        for layer in flow
    ]
    doubled: np.ndarray = np.rint(2 * np.stack(finer)[:, : size[0], : size[1]])
    return doubled.astype(np.intp)
