"""LitDFF: Deep Feature Flow in training, validation and prediction."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dff.data.video.clips import Clip
from dff.inference.accuracy.average_precision import BoxMetric
from dff.inference.deploy.deployment import deploy
from dff.inference.deploy.precision import dtype_of
from dff.inference.engine import Engine, Result
from dff.inference.key_frame import encode_keys, flow_of_pairs
from dff.inference.tasks.choice import DEFAULT, tasks_of
from dff.lit.metrics.accuracy import GapAccuracy, mean_of, truth_size
from dff.lit.metrics.gaps import owned_by_rank
from dff.lit.optimization import optimizers
from dff.models import build
from dff.models.backbones.timm import TimmFeatures
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow, chosen_rows
from dff.models.weights.files import plain_names
from dff.models.weights.load import load_heads, load_weights
from dff.models.weights.pretrained import load_feature_network


class LitDFF(optimizers.ClipsGradients):
    """The joint loss over all heads on the current frame, back through all networks.

    Args:
        feature_network: resnet18, resnet34, resnet50 or resnet101 as in the paper, or timm:NAME for
            any network of timm.
        flow_network: Name of the flow network, or of a classical flow, which learns nothing.
        feature_channels: Channels of the features (the paper: 1024).
        heads: Task -> weight of its loss.
        num_classes: Classes of the segmentation.
        num_box_classes: Classes of the detection.
        detection: Further settings of `DetectionHead`, such as `anchor_scales`.
        box_metric: "vid" (official), "voc" (IoU 0.5) or "coco" average precision.
        task_layers: Learnable layers in the task network (Table 5).
        stride_in: Which convolution of a bottleneck has the stride: "first" (official code) or
            "second" (torchvision, and its weights).
        batch_norm: "frozen": statistics as loaded, for pre-trained weights; "trained": from
            scratch.
        normalization: Input convention, the official code's or torchvision's.
        weights: Pre-trained feature network: a file, "torchvision:NAME", or "timm" for what timm
            downloads for its network; None stays random. A head that the file holds too, for as
            many classes, is taken with it.
        flow_weights: Pre-trained flow network: a checkpoint of LitFlow, or a file that
            `load_weights` takes; None stays random. The scale layers always start at weights 0,
            bias 1.
        flow_from: How the flow to a key frame is found: from the "key" frame alone, as the paper;
            from neighbour to neighbour ("chain"); or from the key frame moved to where the frame
            before saw it ("warm").
        flow_updates: How often raft_small or raft_large refines its flow; None is 12.
        update_network: A light network that sees each non-key frame and corrects what was carried
            there: "resnet18" and the like, "timm:NAME", or "half", the feature network at half
            size. None leaves the paper's method as it is.
        update_weights: Pre-trained weights of it, as `weights`.
        optimizer: "sgd" or "adam" with `milestones`, or "adamw" with one cycle.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of weights and gammas.
        milestones: Steps after which the learning rate falls.
        decay: Factor of the learning rate at each of the milestones.
        lr_factors: Part -> factor of the learning rate ("flow_network", "feature_network.layer1",
            ...); 0 freezes it.
        layer_decay: Factor of the learning rate from each block of a transformer to the one before
            it, such as 0.8; None trains all of them alike.
    """

    def __init__(
        self,
        feature_network: str = "resnet101",
        flow_network: build.FlowName = "flownet",
        feature_channels: int = 1024,
        heads: dict[str, float] | None = None,
        num_classes: int = 19,
        num_box_classes: int = 30,
        detection: dict[str, Any] | None = None,
        box_metric: BoxMetric = "vid",
        task_layers: build.TaskLayers = 1,
        stride_in: Literal["first", "second"] = "first",
        batch_norm: Literal["frozen", "trained"] = "frozen",
        normalization: Literal["official", "torchvision"] = "official",
        weights: str | None = None,
        flow_weights: str | None = None,
        flow_from: build.FlowFrom = "key",
        flow_updates: int | None = None,
        update_network: str | None = None,
        update_weights: str | None = None,
        optimizer: optimizers.OptimizerName = "sgd",
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: list[int] | None = None,
        decay: float = 0.1,
        lr_factors: dict[str, float] | None = None,
        layer_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.loss_weights = dict(heads or DEFAULT)
        self.tasks = self.make_tasks()
        features = build.whole_feature_network(self.hparams)
        # Loaded before the split, where names are still those of the files; a run that goes on
        # from a checkpoint, or reloads one, has no need of the file.
        self._features = [features] if weights else []
        tasks = list(self.tasks.values())
        self.model = build.deep_feature_flow(
            *(features, flow_network, tasks, task_layers, flow_from, flow_updates),
            update=build.update_network(update_network, batch_norm),
        )
        # bf16 on a CPU, and tensor cores, are fast in this layout alone; frames come in it too.
        self.model.to(memory_format=torch.channels_last)
        self._engine: list[Engine] = []  # in a list, so that no checkpoint holds its model
        self.compiles = False  # whether prediction goes through torch.compile
        self.frozen = optimizers.freeze(self.model, lr_factors or {})
        self._decays = layer_decays(features, layer_decay)
        self.train()  # the trainer keeps the modes that it finds

    # ----------------------------------------------------------------- set-up

    def make_tasks(self) -> dict[str, Task]:
        """The task of each head, by its name.

        A subclass that has a task of its own returns `tasks_of(self.hparams, [that])`.
        """
        return tasks_of(self.hparams)

    def setup(self, stage: str) -> None:
        """Takes the classes from the data, and pre-trained weights where training begins."""
        data = getattr(self.trainer, "datamodule", None)
        if stage in ("fit", "validate") and data is not None:
            for task in self.tasks.values():
                task.take_names(data, trains=stage == "fit")
            self.val_gaps = list(data.val_gaps)
            self.accuracy = GapAccuracy(self.tasks, self.val_gaps)
        if stage == "fit" and not self.trainer.ckpt_path:
            for features in self._features:
                self.print(load_feature_network(features, self.hparams.weights))
                heads = load_heads(self.model.heads, self.hparams.weights)
                self.print(f"heads from the same file: {', '.join(heads) or 'none'}")
            if self.hparams.update_weights:
                branch = self.model.update
                if branch is None or branch.network is None:
                    raise ValueError(
                        f"update_weights {self.hparams.update_weights}: an update_network of its "
                        "own alone takes them, such as resnet18"
                    )
                self.print(load_feature_network(branch.network, self.hparams.update_weights))
            if self.hparams.flow_weights:
                self.print(load_weights(self.model.flow_network, self.hparams.flow_weights))
        self._features = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names and colours travel with the weights, so that predict needs nothing else."""
        for task in self.tasks.values():
            checkpoint |= task.saved_names()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes names and colours back, and weights as they are called without torch.compile."""
        checkpoint["state_dict"] = plain_names(checkpoint["state_dict"])
        for task in self.tasks.values():
            task.load_names(checkpoint)

    def train(self, mode: bool = True) -> "LitDFF":
        """Frozen parts stay in eval mode: their batch-norm statistics do not move."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def configure_optimizers(self) -> dict[str, Any]:
        """SGD with steps or AdamW with one cycle, over the parts that are trained."""
        return optimizers.configure_module(self, self.model, self._decays)

    # ------------------------------------------------------------------ steps

    def on_train_batch_start(self, batch: dict[str, Any], batch_index: int) -> None:
        """What a head draws follows from the step, so a run that goes on draws the same."""
        step = (self.global_step << 20) + batch_index
        torch.manual_seed(step * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The weighted sum of the heads' losses on the current frames of the pairs."""
        self._check_targets(batch)
        previous = batch.get("previous")
        features = self.model(batch["key"], batch["current"], batch["gap"], previous=previous)
        losses = self.model.losses(features, batch)
        weighted = [
            self.loss_weights[head] * part
            for head, parts in losses.items()
            for part in parts.values()
        ]
        total = torch.stack(weighted).sum()
        self.losses = {n: p.detach() for parts in losses.values() for n, p in parts.items()}
        if len(weighted) > 1:
            self.log_dict({f"train/loss_{name}": part for name, part in self.losses.items()})
        self.log("train/loss", total, prog_bar=True)
        skipped = batch["skipped"].sum()
        self.log("train/skipped", skipped.float(), reduce_fx="sum", on_step=False, on_epoch=True)
        return total

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Counts what the heads find in the current frames of the pairs, by gap.

        Returns:
            Whether all features are finite, a scalar.
        """
        self._check_targets(batch)
        if "frames" in batch:
            own = encode_keys(self.model, batch)
            carried = self.model.carry(own, flow_of_pairs(self.model, batch))
            features = chosen_rows(batch["gap"] > 0, carried, own)
        else:
            features = self.model(batch["key"], batch["current"], batch["gap"])
        frame = tuple(batch["current"].shape[-2:])
        predictions = self.model.predict(features, truth_size(batch), frame)
        kept = owned_by_rank(batch["index"], self.global_rank, self.trainer.world_size)
        self.accuracy.update(predictions, batch, kept)
        return features.isfinite().all()

    def on_validation_epoch_end(self) -> None:
        """Logs the accuracy of each task: by gap, their mean, of each class and of each group."""
        for head, result in self.accuracy.compute().items():
            task, measure = self.tasks[head], self.tasks[head].measure
            by_gap = result["by_gap"]
            self.log(f"val/{measure.name}", mean_of(by_gap), prog_bar=True)
            for gap, value in zip(self.val_gaps, by_gap.float(), strict=True):
                self.log(f"val/{measure.name}_gap_{gap}", value)
            for name, value in zip(task.classes, result["by_class"].float(), strict=True):
                if not value.isnan():
                    self.log(f"val/{measure.of_class}_{name.replace(' ', '_')}", value)
            for group in [name for name in measure.groups if name in result]:
                self.log(f"val/{measure.name}_{group}", mean_of(result[group]))
        self.accuracy.reset()

    def _check_targets(self, batch: dict[str, Any]) -> None:
        for name, task in self.tasks.items():
            if lacking := [target for target in task.targets if target not in batch]:
                raise ValueError(
                    f"the data has no {' and no '.join(lacking)}, of which the task {name} learns: "
                    "take other data with --data, or train a model without it (--model.heads)"
                )

    def on_predict_start(self) -> None:
        """Prediction runs on a faster copy of the model, by the schedule of the data."""
        model = self.deploy(self.trainer.precision, self.compiles)
        self._engine = [Engine(model, self.trainer.datamodule.schedule, self.device)]

    def deploy(self, precision: str, compiled: bool = False) -> DeepFeatureFlow:
        """The model rewritten for inference in one of Lightning's precisions; see `deploy`."""
        if precision.startswith("64"):
            return self.model
        return deploy(self.model, dtype_of(precision), compiled)

    def predict_step(self, clip: Clip, batch_index: int) -> Result:
        """What is found on the next clip of a video."""
        return self._engine[0].step(clip)


def layer_decays(features: nn.Module, decay: float | None) -> dict[str, float]:
    """Factors of the learning rate of a feature network's parameters, by their names in a model.

    Raises:
        ValueError: The decay is out of its range, or the network is no transformer.
    """
    if decay is None:
        return {}
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay {decay}: wanted a factor over 0 and up to 1, such as 0.8")
    if not isinstance(features, TimmFeatures):
        raise ValueError("layer_decay is for transformers of timm: leave it out")
    return {f"feature_network.{name}": decay**depth for name, depth in features.depths()}
