"""LitFlow: a flow network trained on pairs with true flow, before Deep Feature Flow takes it."""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from dff.inference.recognizer import size_of
from dff.lit.datamodules.pair_data import PairData
from dff.lit.metrics.gaps import (
    SPEEDS,
    GapEndPointError,
    SpeedEndPointError,
    dense_flow,
    flow_of_cells,
    owned_by_rank,
)
from dff.lit.optimization import optimizers
from dff.models import build
from dff.models.flow.flownet import FLOW_UNIT
from dff.models.weights.files import plain_names
from dff.models.weights.load import load_weights

FIRST_THING = 11
"""Train ids from here on are countable things (person to bicycle), which move by themselves."""

# FlowNet weighs sums over the cells of a layer, by 0.32, 0.08, 0.02, 0.01 and 0.005; here the error
# is a mean, so that the size of the crop does not matter. Each layer of FlowNet has four times the
# cells of the one before, so its weights of means are as 1 : 1 : 1 : 2 : 4. Its own numbers would
# leave the finest layer, which propagation uses, 1 % of the weight.
LEVEL_WEIGHTS = (0.25, 0.25, 0.25, 0.5, 1.0)
"""Weights of the mean errors of the prediction layers, coarse to fine: FlowNet's, the last as 1."""


class LitFlow(optimizers.ClipsGradients):
    """Multi-scale end-point error over all prediction layers of a flow network.

    Args:
        flow_network: Name of the flow network.
        flow_weights: Weights to begin with, a checkpoint or a file that `load_weights` takes; None
            stays random.
        flow_updates: How often raft_small or raft_large refines its flow; None is 12.
        level_weights: Weight of the mean error of each prediction layer, coarse to fine; the last
            one is the flow that propagation uses. None takes 0.25, 0.25, 0.25, 0.5, 1. A network
            with fewer prediction layers takes the last of them.
        object_weight: Weight of pixels of moving things against 1 of the scene, which would
            otherwise let a network learn the camera's motion and nothing else. Other than 1, it
            wants data with labels.
        soften: Pixels of motion at which the weight of a pixel has halved, so that large motions
            do not drown small ones; None weighs all alike.
        optimizer: "adam" with `milestones`, as FlowNet, "sgd" likewise, or "adamw" with one cycle.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of weights.
        milestones: Steps after which the learning rate of "adam" or "sgd" falls.
        decay: Factor of the learning rate at each of the milestones; FlowNet's is 0.5.
    """

    def __init__(
        self,
        flow_network: build.FlowNetworkName = "flownet",
        flow_weights: str | None = None,
        flow_updates: int | None = None,
        level_weights: list[float] | None = None,
        object_weight: float = 1.0,
        soften: float | None = None,
        optimizer: optimizers.OptimizerName = "adamw",
        lr: float = 1e-4,
        momentum: float = 0.9,
        weight_decay: float = 4e-4,
        milestones: list[int] | None = None,
        decay: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.level_weights = level_weights or list(LEVEL_WEIGHTS)
        if len(self.level_weights) != 5:
            raise ValueError(
                f"level_weights has {len(self.level_weights)} numbers: wanted one for each of the "
                "5 prediction layers, coarse to fine"
            )
        self.flow_network = build.flow_network(flow_network, flow_updates)
        self.flow_network.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Checks that the data is what the loss needs, and loads weights where training begins.

        Raises:
            ValueError: The data gives no true flow, or no labels where `object_weight` needs them.
        """
        if stage in ("fit", "validate"):
            data = self.trainer.datamodule
            check_data(data, self.hparams.object_weight if stage == "fit" else 1.0)
            if stage == "fit" and isinstance(data, PairData):
                _check_truth(data)
            self.val_gaps = list(data.val_gaps)
            self.error = GapEndPointError(self.val_gaps)
            self.speed_error = SpeedEndPointError()
        if stage == "fit" and self.hparams.flow_weights and not self.trainer.ckpt_path:
            self.print(load_weights(self.flow_network, self.hparams.flow_weights))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes weights as they are called today, and without torch.compile."""
        state = plain_names(checkpoint["state_dict"])
        # an idle scale layer, which an earlier version gave a flow network by itself
        checkpoint["state_dict"] = {n: v for n, v in state.items() if "scale_layers." not in n}

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
                # a network with fewer layers takes the weights of the finest
                for w, level in zip(self.level_weights[-len(levels) :], levels, strict=True)
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

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Counts the end-point error of the flow that propagation would use.

        Returns:
            Whether all flow is finite, a scalar.
        """
        found = self.flow_network(batch["current"], batch["key"]).field
        frame, size = size_of(batch["current"]), size_of(batch["flow"])
        flow = dense_flow(flow_of_cells(found, self.flow_network.stride, frame), frame, size)
        kept = owned_by_rank(batch["index"], self.global_rank, self.trainer.world_size)
        counted = flow[kept], batch["flow"][kept], batch["flow_known"][kept]
        self.error.update(*counted, batch["gap"][kept])
        self.speed_error.update(*counted)
        return flow.isfinite().all()

    def on_validation_epoch_end(self) -> None:
        """End-point error for each gap, for each speed and over all, in image pixels."""
        error, zero_error = self.error.compute()
        self.error.reset()
        for gap, value in zip(self.val_gaps, error.float(), strict=True):
            self.log(f"val/epe_gap_{gap}", value)
        self.log("val/epe", error.nanmean().float(), prog_bar=True)
        self.log("val/epe_zero", zero_error.nanmean().float())
        for name, value in zip(SPEEDS, self.speed_error.compute().float(), strict=True):
            if not value.isnan():  # the same in all processes, as the sums are
                self.log(f"val/epe_{name}", value)
        self.speed_error.reset()


def check_data(data: L.LightningDataModule, object_weight: float) -> None:
    """Checks that a data module gives what `LitFlow` learns from.

    Raises:
        ValueError: It gives no true flow, or no labels where `object_weight` needs them.
    """
    name = type(data).__name__
    if not getattr(data, "with_flow", True):
        raise ValueError(
            f"a flow network learns from true flow, and {name} was not asked for it: set "
            "--data.with_flow true, with data that knows its flow"
        )
    if object_weight != 1.0 and not getattr(data, "classes", ()):
        raise ValueError(
            f"object_weight={object_weight:g} weighs the pixels of moving things by their labels, "
            f"and {name} has none: set --model.object_weight 1, or use Streets"
        )


def _check_truth(data: PairData) -> None:
    if all(snippet.truth is None for snippet in data.snippets("train")):
        raise ValueError(
            f"{type(data).__name__} knows no true flow of its training videos, so a flow network "
            "would learn nothing from it: use Streets, FlyingChairs or DrawnPairs"
        )


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


def cell_means(flow: Tensor, weight: Tensor, cell: int = 8) -> tuple[Tensor, Tensor]:
    """Means over square cells; from those of 8x8 pixels, those of every prediction layer follow.

    The prediction layers have strides of 16 and more: pooling the whole image for each of them
    took longer than the network.

    Args:
        flow: (B, 2, H, W) in pixels of the image.
        weight: (B, H, W), not negative.
        cell: Pixels of a side of a cell.

    Returns:
        Mean of flow times weight (B, 2, ceil(H/cell), ceil(W/cell)), and of the weight (B, 1, ...).
    """
    weight = weight.unsqueeze(1)
    # Not a product: unknown flow may be infinite, and its weight 0.
    weighted = torch.where(weight > 0, flow, 0.0) * weight
    return F.avg_pool2d(weighted, cell, ceil_mode=True), F.avg_pool2d(weight, cell, ceil_mode=True)
