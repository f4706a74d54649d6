"""What the flow inside a model is worth: its error, and how well it carries features; by gap."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from dff.data.samples import IGNORED
from dff.inference.recognizer import size_of
from dff.lit.metrics.accuracy import truth_size
from dff.lit.metrics.gaps import GapEndPointError, dense_flow, flow_of_cells, owned_by_rank
from dff.lit.module import LitDFF
from dff.models.contracts import Features, Flow
from dff.models.dff import DeepFeatureFlow, Propagation, levels_of

AREAS = ("all", "border", "occluded")
"""Where is measured: everywhere; near a change of class; where the key frame does not show it."""
MODES: tuple[Propagation, ...] = ("copy", "no_scale", "full")


def border_band(mask: Tensor, width: int = 8) -> Tensor:
    """The `width` pixels on each side of every change of class, (B, H, W) bool.

    A change is where two neighbours, side by side or one above the other, have different labels,
    neither of them 255. A pixel is in the band if one of two such neighbours is less than `width`
    rows and less than `width` columns away.

    Args:
        mask: (B, H, W) labels.
        width: Pixels on each side; 1 takes the two neighbours alone.
    """
    if width < 1:
        raise ValueError(f"a border of {width} pixels: wanted 1 or more on each side")
    change = torch.zeros_like(mask, dtype=torch.bool)
    for axis in (1, 2):
        length = mask.shape[axis] - 1
        first, second = mask.narrow(axis, 0, length), mask.narrow(axis, 1, length)
        differs = (first != second) & (first != IGNORED) & (second != IGNORED)
        for start in (0, 1):
            change.narrow(axis, start, length).logical_or_(differs)
    # A square grows along rows and then along columns: 4 * width comparisons and not 4 * width^2.
    band, kernel, padding = change.float(), 2 * width - 1, width - 1
    band = F.max_pool2d(band, (1, kernel), 1, (0, padding))
    return F.max_pool2d(band, (kernel, 1), 1, (padding, 0)) > 0


def areas_of(batch: dict[str, Any], size: tuple[int, int], border: int = 8) -> Tensor:
    """Which pixels belong to each of AREAS, (B, 3, H, W) bool.

    Args:
        batch: Of pairs. Without a mask, nothing is a border; without true flow, nothing occluded.
        size: H and W, those of the truth.
        border: Width of `border_band`.
    """
    shape = (len(batch["gap"]), *size)
    everywhere = torch.ones(shape, dtype=torch.bool, device=batch["gap"].device)
    nowhere = torch.zeros_like(everywhere)
    band = border_band(batch["mask"], border) if "mask" in batch else nowhere
    return torch.stack([everywhere, band, batch.get("occluded", nowhere)], 1)


def cells_of(areas: Tensor, size: tuple[int, int]) -> Tensor:
    """Which feature cells belong to an area: those of which it covers half of the pixels or more.

    Args:
        areas: (B, A, H, W) bool.
        size: h and w of the features, over which cells spread evenly, as `dense_flow`.

    Returns:
        (B, A, h, w) bool.
    """
    return F.adaptive_avg_pool2d(areas.float(), size) >= 0.5


class GapMean(Metric):
    """Mean of a map by gap in each of several areas, exact over any split.

    Args:
        gaps: The gaps that are evaluated.
        areas: How many areas.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, gaps: Sequence[int], areas: int) -> None:
        super().__init__()
        self.gaps = list(gaps)
        for name in ("total", "count"):
            zeros = torch.zeros(areas, len(gaps), dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, values: Tensor, areas: Tensor, gap: Tensor) -> None:
        """Counts a batch.

        Args:
            values: (B, h, w).
            areas: (B, A, h, w) bool.
            gap: (B,), each one of `gaps`.
        """
        totals = torch.where(areas, values.double().unsqueeze(1), 0.0).sum((-2, -1))
        counts = areas.sum((-2, -1))
        for row, g in enumerate(gap.tolist()):
            position = self.gaps.index(g)
            self.total[:, position] += totals[row]
            self.count[:, position] += counts[row]

    def compute(self) -> Tensor:
        """(areas, gaps) float64; NaN where nothing was counted."""
        return self.total / self.count


class FlowQuality(nn.Module):
    """End-point error of the flow that propagates, and the cosine between carried and own features.

    The error is in image pixels, counted as everywhere else by `GapEndPointError`, where the true
    flow is known; occluded pixels have a true flow too. The cosine is that of the two feature
    vectors of a cell, one carried from the key frame, one computed on the current frame itself: 1
    where propagation is perfect. It needs no true flow. A cell whose features come from outside the
    key frame is 0 and has cosine 0. What makes all channels of a cell larger or smaller alike, a
    scale field or the border of the key frame, leaves the cosine as it is.

    Args:
        gaps: The gaps that are evaluated, 1 or more each: a key frame has no flow.
        modes: How features are carried.
        border: Pixels on each side of a change of class that are its border; 8 is half a cell.
    """

    def __init__(
        self, gaps: Sequence[int], modes: Sequence[Propagation] = MODES, border: int = 8
    ) -> None:
        super().__init__()
        if not gaps or min(gaps) < 1:
            raise ValueError(
                f"gaps {list(gaps)}: wanted one or more, each 1 or more, as a key frame has no flow"
            )
        if border < 1:
            raise ValueError(f"a border of {border} pixels: wanted 1 or more on each side")
        self.gaps, self.border = list(gaps), border
        errors = nn.ModuleDict({area: GapEndPointError(self.gaps) for area in AREAS})
        cosines = nn.ModuleDict({mode: GapMean(self.gaps, len(AREAS)) for mode in modes})
        shares = nn.ModuleDict({area: GapMean(self.gaps, 1) for area in AREAS})
        # a ModuleDict does not tell what modules it holds
        self.errors = cast("Mapping[str, GapEndPointError]", errors)
        self.cosines = cast("Mapping[Propagation, GapMean]", cosines)
        self.shares = cast("Mapping[str, GapMean]", shares)

    def update(
        self,
        batch: dict[str, Any],
        features: Features,
        own: Features,
        flow: Flow,
        model: DeepFeatureFlow,
    ) -> None:
        """Counts a batch of pairs, every row of it.

        Args:
            batch: Of pairs, on the device; `flow`, `flow_known`, `occluded` and `mask` where known.
            features: Of the key frames; of several levels the finest counts.
            own: Of the current frames, computed on them, likewise.
            flow: As the flow network of `model` has found it.
            model: Carries the features.
        """
        size = size_of(batch["flow"]) if "flow" in batch else truth_size(batch)
        areas, gap = areas_of(batch, size, self.border), batch["gap"]
        frame = size_of(batch["current"])
        of_cells = flow_of_cells(flow.field, model.flow_stride, frame, model.strides[0])
        pixels = dense_flow(of_cells, frame, size)
        truth = batch.get("flow", torch.zeros_like(pixels))
        known = batch.get("flow_known", torch.zeros_like(areas[:, 0]))
        for number, area in enumerate(AREAS):
            self.shares[area].update(areas[:, number], areas[:, :1], gap)
            self.errors[area].update(pixels, truth, known & areas[:, number], gap)
        own = levels_of(own)[0]
        cells = cells_of(areas, size_of(own))
        for mode, metric in self.cosines.items():
            carried = levels_of(model.carry(features, flow, mode))[0]
            # The rounding that is left of features from just outside has a direction, but no size.
            cosine = F.cosine_similarity(carried.float(), own.float(), dim=1, eps=1e-4)
            metric.update(cosine, cells, gap)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """Tensors (gaps,) float64 by area, NaN where nothing was counted.

        Returns:
            `share` (of the pixels), `epe`, `epe_zero` (of zero flow), and each mode with its
            cosine, `cosine_full` and so on; each of them by area.
        """
        result: dict[str, dict[str, Tensor]] = {"share": {}, "epe": {}, "epe_zero": {}}
        for area in AREAS:
            error, zero_error = self.errors[area].compute()
            # torchmetrics makes a scalar of the one value of one gap
            result["share"][area] = self.shares[area].compute().reshape(-1)
            result["epe"][area], result["epe_zero"][area] = error, zero_error
        for mode, metric in self.cosines.items():
            result[f"cosine_{mode}"] = dict(zip(AREAS, metric.compute(), strict=True))
        return {
            name: {area: values.cpu() for area, values in by_area.items()}
            for name, by_area in result.items()
        }


class FlowMonitor(L.Callback):
    """Logs the quality of the flow at each validation of LitDFF; off by default.

    For each gap of validation but 0: `val/cosine_gap_9` of the features as they are carried, with
    `cosine_no_scale` (scale field 1) and `cosine_copy` beside it; and `val/flow_epe_gap_9` in image
    pixels, with `flow_epe_border`, `flow_epe_occluded` and `flow_epe_zero` (no flow), where data
    that knows the true flow was asked for it (`--data.with_flow true`). See `FlowQuality`.

    Args:
        every: Measure on every n-th labelled frame of validation, at the cost of validating it
            once more and a feature network; 0 measures nothing.
        border: See `FlowQuality`.
    """

    def __init__(self, every: int = 0, border: int = 8) -> None:
        if every < 0:
            raise ValueError(f"every {every}: wanted 0 (measure nothing) or more")
        self.every, self.border = every, border
        self._quality: FlowQuality | None = None

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to count."""
        self._quality = None
        if self.every and isinstance(pl_module, LitDFF):
            if gaps := [gap for gap in pl_module.val_gaps if gap > 0]:
                self._quality = FlowQuality(gaps, border=self.border).to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts the rows whose turn it is, by their index: any split counts the same ones."""
        if self._quality is None or not isinstance(pl_module, LitDFF):
            return
        index = batch["index"]
        kept = owned_by_rank(index, trainer.global_rank, trainer.world_size) & (batch["gap"] > 0)
        # the gaps of one labelled frame stand next to each other
        kept &= index // len(pl_module.val_gaps) % self.every == 0
        if not kept.any():
            return
        batch = {k: v[kept] if isinstance(v, Tensor) else v for k, v in batch.items()}
        model = pl_module.model
        with trainer.precision_plugin.forward_context():
            flow = model.find_flow(batch["key"], batch["current"])
            features, own = model.encode(batch["key"]), model.encode(batch["current"])
            self._quality.update(batch, features, own, flow, model)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs; the same in every process."""
        if self._quality is None:
            return
        result = self._quality.compute()
        logged = {
            "cosine": result["cosine_full"]["all"],
            "cosine_no_scale": result["cosine_no_scale"]["all"],
            "cosine_copy": result["cosine_copy"]["all"],
            "flow_epe": result["epe"]["all"],
            "flow_epe_border": result["epe"]["border"],
            "flow_epe_occluded": result["epe"]["occluded"],
            "flow_epe_zero": result["epe_zero"]["all"],
        }
        for name, values in logged.items():
            for gap, value in zip(self._quality.gaps, values.float(), strict=True):
                if not value.isnan():
                    pl_module.log(f"val/{name}_gap_{gap}", value)
        self._quality = None
