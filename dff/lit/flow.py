"""LitFlow: a flow network trained on pairs with true flow, before Deep Feature Flow takes it."""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from dff.lit import optimizers
from dff.lit.metrics import GapEndPointError, counted_here, flow_in_image_pixels
from dff.models import presets
from dff.models.flownet import FLOW_UNIT
from dff.models.weights import load_weights

FIRST_THING = 11
"""Train ids from here on are countable things (person to bicycle), which move by themselves."""


class LitFlow(L.LightningModule):
    """Multi-scale end-point error over all prediction layers of a flow network.

    Args:
        flow_network: Name of the flow network.
        flow_weights: Weights to begin with; None stays random.
        level_weights: Weight of each prediction layer, coarse to fine; the last one is the flow
            that propagation uses. FlowNet's are 0.32, 0.08, 0.02, 0.01, 0.005.
        object_weight: Weight of pixels of moving things against 1 of the scene, which would
            otherwise let a network learn the camera's motion and nothing else.
        soften: Pixels of motion at which the weight of a pixel has halved, so that large motions
            do not drown small ones; None weighs all alike.
        optimizer: See LitDFF; likewise `lr`, `momentum`, `weight_decay`, `milestones`.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of weights.
        milestones: Steps after which SGD's learning rate falls to a tenth.
    """

    def __init__(
        self,
        flow_network: presets.FlowNetworkName = "flownet",
        flow_weights: str | None = None,
        level_weights: list[float] | None = None,
        object_weight: float = 1.0,
        soften: float | None = None,
        optimizer: optimizers.OptimizerName = "adamw",
        lr: float = 1e-4,
        momentum: float = 0.9,
        weight_decay: float = 4e-4,
        milestones: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.level_weights = level_weights or [0.32, 0.08, 0.02, 0.01, 0.005]
        # The scale field belongs to Deep Feature Flow's features; here it has one idle channel.
        self.flow_network = presets.flow_network(flow_network, feature_channels=1)
        self.flow_network.to(memory_format=torch.channels_last)
        optimizers.freeze(self.flow_network, {"decoder.scale": 0.0})

    def setup(self, stage: str) -> None:
        """Loads weights where training begins."""
        if stage in ("fit", "validate"):
            self.val_gaps = list(self.trainer.datamodule.val_gaps)
            self.error = GapEndPointError(self.val_gaps)
        if stage == "fit" and self.hparams.flow_weights and not self.trainer.ckpt_path:
            self.print(load_weights(self.flow_network, self.hparams.flow_weights, keep=("scale",)))

    def configure_optimizers(self) -> dict[str, Any]:
        """As LitDFF."""
        return optimizers.configure_module(self, self.flow_network)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Weighted end-point error, summed over the prediction layers."""
        levels = self.flow_network.pyramid(batch["current"], batch["key"])
        truth, weight = cell_means(batch["flow"], self._pixel_weights(batch))
        loss = torch.stack(
            [
                w * weighted_error(level, truth, weight)
                for w, level in zip(self.level_weights, levels, strict=True)
            ]
        ).sum()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _pixel_weights(self, batch: dict[str, Any]) -> Tensor:
        weight = batch["flow_known"].float()
        if self.hparams.object_weight != 1.0:
            mask = batch["mask"]
            things = (mask >= FIRST_THING) & (mask != 255)
            weight = torch.where(things, weight * self.hparams.object_weight, weight)
        if self.hparams.soften is not None:
            # hypot, for norm over a dimension of 2 is 50 times as slow on a CPU
            length = torch.hypot(*batch["flow"].unbind(1))
            weight = weight / (1 + length / self.hparams.soften)
        return weight

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Counts the end-point error of the flow that propagation would use."""
        flow, _ = self.flow_network(batch["current"], batch["key"])
        sizes = batch["current"].shape[-2:], batch["flow"].shape[-2:]
        flow = flow_in_image_pixels(flow, *sizes)
        kept = counted_here(batch["index"], self.global_rank, self.trainer.world_size)
        self.error.update(
            flow[kept], batch["flow"][kept], batch["flow_known"][kept], batch["gap"][kept]
        )

    def on_validation_epoch_end(self) -> None:
        """End-point error for each gap and over all, in image pixels."""
        error, zero_error = self.error.compute()
        self.error.reset()
        for gap, value in zip(self.val_gaps, error.float(), strict=True):
            self.log(f"val/epe_gap_{gap}", value)
        self.log("val/epe", error.nanmean().float(), prog_bar=True)
        self.log("val/epe_zero", zero_error.nanmean().float())


def weighted_error(level: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean end-point error of one prediction layer, in the network's units.

    Args:
        level: (B, 2, h, w); 1 is FLOW_UNIT pixels of the half-size image.
        truth: As `cell_means` gives it, likewise `weight`.
        weight: (B, 1, H/8, W/8).

    Returns:
        A scalar; the truth of a cell is the weighted mean over its pixels.
    """
    size = level.shape[-2:]
    weight = F.adaptive_avg_pool2d(weight, size)
    truth = F.adaptive_avg_pool2d(truth, size) / weight.clamp(min=1e-6)
    error = (level.float() - truth / (2 * FLOW_UNIT)).norm(dim=1, keepdim=True)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def cell_means(flow: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Means over cells of 8x8 pixels, from which those of every prediction layer follow.

    The prediction layers have strides of 16 and more: pooling the whole image for each of them
    took longer than the network.

    Args:
        flow: (B, 2, H, W) in pixels of the image.
        weight: (B, H, W), not negative.

    Returns:
        Mean of flow times weight (B, 2, ceil(H/8), ceil(W/8)), and of the weight (B, 1, ...).
    """
    weight = weight.unsqueeze(1)
    # Not a product: unknown flow may be infinite, and its weight 0.
    weighted = torch.where(weight > 0, flow, 0.0) * weight
    return F.avg_pool2d(weighted, 8, ceil_mode=True), F.avg_pool2d(weight, 8, ceil_mode=True)
