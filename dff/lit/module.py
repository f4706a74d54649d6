"""LitDFF: Deep Feature Flow in training, validation and prediction."""

import time
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from dff.lit import optimizers
from dff.lit.metrics import GapConfusion, class_iou, counted_here, mean_iou
from dff.models import presets
from dff.models.recognizer import recognize_interval
from dff.models.weights import load_weights


class LitDFF(L.LightningModule):
    """The joint loss over all heads on the current frame, back through all networks.

    Args:
        feature_network: Name of the feature network.
        flow_network: Name of the flow network.
        feature_channels: Channels of the features (the paper: 1024).
        heads: Task -> weight of its loss.
        num_classes: Classes of the segmentation.
        task_layers: Learnable layers in the task network (Table 5).
        stride_in: Which convolution of a bottleneck has the stride: "first" (official code) or
            "second" (torchvision, and its weights).
        batch_norm: "frozen": statistics as loaded, for pre-trained weights; "trained": from
            scratch.
        normalization: Input convention, the official code's or torchvision's.
        weights: Pre-trained feature network: a file, or "torchvision:NAME"; None stays random.
        flow_weights: Pre-trained flow network: a checkpoint of LitFlow or a file; None stays
            random. The scale layer always starts at weights 0, bias 1.
        optimizer: "sgd" with `milestones`, or "adamw" with one cycle.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of weights and gammas.
        milestones: Steps after which the learning rate falls to a tenth.
        lr_factors: Part -> factor of the learning rate ("flow_network", "feature_network.layer1",
            ...); 0 freezes it.
    """

    def __init__(
        self,
        feature_network: presets.FeatureNetworkName = "resnet101",
        flow_network: presets.FlowNetworkName = "flownet",
        feature_channels: int = 1024,
        heads: dict[str, float] | None = None,
        num_classes: int = 19,
        task_layers: presets.TaskLayers = 1,
        stride_in: Literal["first", "second"] = "first",
        batch_norm: Literal["frozen", "trained"] = "frozen",
        normalization: Literal["official", "torchvision"] = "official",
        weights: str | None = None,
        flow_weights: str | None = None,
        optimizer: optimizers.OptimizerName = "sgd",
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: list[int] | None = None,
        lr_factors: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.loss_weights = heads or {"segmentation": 1.0}
        features = presets.feature_network(
            feature_network,
            feature_channels,
            stride_in=stride_in,
            batch_norm=batch_norm,
            normalization=normalization,
        )
        # Loaded before the split, where names are still those of the files; a run that goes on
        # from a checkpoint, or reloads one, has no need of the file.
        self._features = [features] if weights else []
        self.model = presets.deep_feature_flow(
            features,
            flow_network,
            heads=list(self.loss_weights),
            num_classes=num_classes,
            task_layers=task_layers,
        )
        # bf16 on a CPU, and tensor cores, are fast in this layout alone; frames come in it too.
        self.model.to(memory_format=torch.channels_last)
        self.frozen = optimizers.freeze(self.model, lr_factors or {})
        self.classes: list[str] = [f"class {i}" for i in range(num_classes)]
        self.palette: list[list[int]] = []
        self.train()  # the trainer keeps the modes that it finds

    # ----------------------------------------------------------------- set-up

    def setup(self, stage: str) -> None:
        """Takes the classes from the data, and pre-trained weights where training begins."""
        data = getattr(self.trainer, "datamodule", None)
        if stage in ("fit", "validate") and data is not None:
            self._take_classes(data.classes, data.palette)
            self.val_gaps = list(data.val_gaps)
            self.confusion = GapConfusion(self.val_gaps, self.hparams.num_classes)
        if stage == "fit" and not self.trainer.ckpt_path:
            for features in self._features:
                self.print(load_weights(features, self.hparams.weights))
            if self.hparams.flow_weights:
                # A scale field trained for other features would not be 1 here.
                report = load_weights(
                    self.model.flow_network, self.hparams.flow_weights, keep=("scale",)
                )
                self.print(report)
        self._features = []

    def _take_classes(self, classes: list[str], palette: list[list[int]]) -> None:
        if len(classes) != self.hparams.num_classes:
            raise ValueError(
                f"the model has {self.hparams.num_classes} classes and the data {len(classes)}: "
                f"set --model.num_classes {len(classes)}, or take data of the model's classes"
            )
        self.classes, self.palette = list(classes), [list(map(int, c)) for c in palette]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names and colours travel with the weights, so that predict needs nothing else."""
        checkpoint["classes"], checkpoint["palette"] = self.classes, self.palette

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes names and colours back."""
        self.classes = checkpoint.get("classes", self.classes)
        self.palette = checkpoint.get("palette", self.palette)

    def train(self, mode: bool = True) -> "LitDFF":
        """Frozen parts stay in eval mode: their batch-norm statistics do not move."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def configure_optimizers(self) -> dict[str, Any]:
        """SGD with steps or AdamW with one cycle, over the parts that are trained."""
        return optimizers.configure_module(self, self.model)

    # ------------------------------------------------------------------ steps

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The weighted sum of the heads' losses on the current frames of the pairs."""
        features = self.model(batch["key"], batch["current"], batch["gap"])
        losses = self.model.losses(features, batch)
        weighted = [
            self.loss_weights[head] * part
            for head, parts in losses.items()
            for part in parts.values()
        ]
        total = torch.stack(weighted).sum()
        if len(weighted) > 1:
            for parts in losses.values():
                self.log_dict({f"train/loss_{name}": part for name, part in parts.items()})
        self.log("train/loss", total, prog_bar=True)
        skipped = batch["skipped"].sum()
        self.log("train/skipped", skipped.float(), reduce_fx="sum", on_step=False, on_epoch=True)
        return total

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Counts the labels of the pairs, by gap."""
        features = self.model(batch["key"], batch["current"], batch["gap"])
        labels = self.model.predict(features, batch["mask"].shape[-2:])["segmentation"]
        kept = counted_here(batch["index"], self.global_rank, self.trainer.world_size)
        self.confusion.update(labels[kept], batch["mask"][kept], batch["gap"][kept])

    def on_validation_epoch_end(self) -> None:
        """Logs the mIoU for each gap, their mean, and the IoU of each class over all gaps."""
        confusion = self.confusion.compute()
        self.confusion.reset()
        by_gap = mean_iou(confusion).nan_to_num()
        self.log("val/miou", by_gap.mean().float(), prog_bar=True)
        for gap, value in zip(self.val_gaps, by_gap.float(), strict=True):
            self.log(f"val/miou_gap_{gap}", value)
        for name, value in zip(self.classes, class_iou(confusion.sum(0)).float(), strict=True):
            if not value.isnan():
                self.log(f"val/iou_{name.replace(' ', '_')}", value)

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Any] | None:
        """Recognises one interval of a video; None where the video could not be read on."""
        if batch["error"] is not None:
            return None
        started = time.perf_counter()
        predictions = recognize_interval(self.model, batch["input"], batch["frames"].shape[-2:])
        predictions = {name: value.cpu() for name, value in predictions.items()}
        return {**predictions, "seconds": time.perf_counter() - started}
