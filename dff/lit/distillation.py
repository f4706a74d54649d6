"""Learning to propagate without labels: the per-frame network is the teacher of the flow."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from dff.inference.key_frame import encode_keys, flow_of_pairs
from dff.inference.recognizer import size_of
from dff.lit.datamodules.pair_data import PairData
from dff.lit.metrics.accuracy import GapAccuracy, mean_of
from dff.lit.metrics.gaps import owned_by_rank
from dff.lit.optimization import optimizers
from dff.lit.teacher import load_teacher
from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.names import FlowNetworkName
from dff.models.weights.load import load_weights

FIXED = ("feature_network", "heads", "tail")
"""Parts of the teacher, which stay as they are."""
Way = Literal["agreement", "copied", "before"]
"""With the flow as it is now; without any; with the flow as it was before the training."""


class LitDistillation(optimizers.ClipsGradients):
    """Flow and scale field learn that the propagated result is the network's own result.

    The teacher is a trained model, whose feature network and heads stay as they are. Of a pair of
    frames, the features of the key frame are propagated to the current one and compared with the
    features that the network finds there itself: by the cosine in each pixel, and by what the heads
    make of both, where they can tell. No label is needed. What is saved is an ordinary model; of a
    model that was no checkpoint, the flow network and the scale layers.

    The scale layers see the current frame, and at the flow's learning rate would recognise instead
    of correcting: keep theirs far lower.

    Args:
        teacher: Checkpoint of a trained model; or a per-frame model by its name, such as
            `torchvision:deeplabv3_resnet101` (see `per_frame_model`). One without a flow network
            wants a `flow_network`.
        teacher_weights: Of a model of torchvision, a file.
        random_weights: Whether a model by its name has random weights.
        flow_network: Another flow network than the teacher's; it starts from `flow_weights`.
        flow_weights: Weights of the flow network to begin with, as in `LitDFF`.
        label_weight: Weight of the divergence of the labels.
        feature_weight: Weight of 1 less the cosine of the features.
        optimizer: As in `LitDFF`, likewise what follows.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of weights.
        milestones: Steps after which the learning rate falls.
        decay: Factor of the learning rate at each of the milestones.
        lr_factors: Part -> factor of the learning rate; 0 for `scale_layers` keeps the scale field.

    Raises:
        ConnectionError: Weights of the teacher cannot be downloaded.
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is no checkpoint of a model, there is no flow network to train, or a task
            cannot compare results with results.
    """

    def __init__(
        self,
        teacher: str,
        teacher_weights: str | None = None,
        random_weights: bool = False,
        flow_network: FlowNetworkName | None = None,
        flow_weights: str | None = None,
        label_weight: float = 1.0,
        feature_weight: float = 1.0,
        optimizer: optimizers.OptimizerName = "adamw",
        lr: float = 2e-4,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: list[int] | None = None,
        decay: float = 0.1,
        lr_factors: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if min(label_weight, feature_weight) < 0 or not label_weight + feature_weight:
            raise ValueError(
                f"label_weight {label_weight}, feature_weight {feature_weight}: wanted numbers "
                "from 0, not both 0"
            )
        self.label_weight, self.feature_weight = label_weight, feature_weight
        factors = {**(lr_factors or {}), **dict.fromkeys(FIXED, 0.0)}
        loaded = load_teacher(teacher, flow_network, teacher_weights, random_weights)
        self.settings, self.tasks, self.model = loaded
        self.strict_loading = "feature_network" in self.settings
        if flow_weights:
            rank_zero_info(str(load_weights(self.model.flow_network, flow_weights)))
        self.model.to(memory_format=torch.channels_last)
        flow, scale = self.model.flow_network, self.model.scale_layers
        self._before = [copy.deepcopy(nn.ModuleList([flow, scale])).eval().requires_grad_(False)]
        self.frozen = optimizers.freeze(self.model, factors)
        self.hparams["lr_factors"] = factors
        self.train()

    def setup(self, stage: str) -> None:
        """Prepares what counts the agreement."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PairData):
            raise ValueError(f"{type(data).__name__} gives no pairs of frames: take VideoFrames")
        self.val_gaps = list(data.val_gaps)
        ways: tuple[Way, ...] = ("agreement", "copied", "before")
        self.accuracy = nn.ModuleDict({way: GapAccuracy(self.tasks, self.val_gaps) for way in ways})

    def train(self, mode: bool = True) -> "LitDistillation":
        """What stays as it is stays in eval mode: its batch-norm statistics do not move."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves an ordinary model: the teacher's settings, with its flow network of now.

        A model by its name is found by its name again: only what it has learned is saved.
        """
        checkpoint["hyper_parameters"] = self.settings
        if not self.strict_loading:
            learned = ("model.flow_network.", "model.scale_layers.")
            state = checkpoint["state_dict"].items()
            checkpoint["state_dict"] = {k: v for k, v in state if k.startswith(learned)}
        for task in self.tasks.values():
            checkpoint |= task.saved_names()

    def configure_optimizers(self) -> Any:
        """As for `LitDFF`."""
        return optimizers.configure_module(self, self.model)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The weighted sum of both distances between propagated and own features."""
        key, current = batch["key"], batch["current"]
        with torch.no_grad():
            features, own = self.model.encode(key), self.model.encode(current)
        before = self.model.trail(key, batch.get("previous"), batch["gap"])
        propagated = self.model.propagate(features, key, current, before=before)
        losses = self.distances(propagated, own)
        total = torch.stack(list(losses.values())).sum()
        self.log_dict({f"train/loss_{name}": value.detach() for name, value in losses.items()})
        self.log("train/loss", total, prog_bar=True)
        skipped = batch["skipped"].sum()
        self.log("train/skipped", skipped.float(), reduce_fx="sum", on_step=False, on_epoch=True)
        return total

    def distances(self, propagated: Features, own: Features) -> dict[str, Tensor]:
        """`features` and, of each head that can tell, its name -> weighted distance, a scalar."""
        cosines = [
            F.cosine_similarity(found.float(), wanted.float(), dim=1).mean()
            for found, wanted in zip(levels_of(propagated), levels_of(own), strict=True)
        ]
        losses = {"features": self.feature_weight * (1 - torch.stack(cosines).mean())}
        if self.label_weight:
            found, wanted = self.model.tail(propagated), self.model.tail(own)
            for name, head in self.model.task_networks():
                disagreement = getattr(head, "disagreement", None)
                if disagreement is not None:
                    losses[name] = self.label_weight * disagreement(found, wanted)
        return losses

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Counts how far propagated results agree with the network's own, by gap."""
        current = batch["current"]
        if (batch["size"] != batch["size"][0]).any():
            raise ValueError("frames of several sizes in one batch: set --data.val_batch_size 1")
        model, size = self.model, size_of(current)
        own = model.predict(model.encode(current), size)
        targets: dict[str, Tensor] = {}
        for name, task in self.tasks.items():
            targets |= task.as_targets(own[name])
        features = encode_keys(model, batch)
        carried = {"agreement": self._propagated(features, batch), "copied": features}
        carried["before"] = self._as_before(features, batch)
        kept = owned_by_rank(batch["index"], self.global_rank, self.trainer.world_size)
        for way, found in carried.items():
            counter: Any = self.accuracy[way]
            counter.update(model.predict(found, size), {**batch, **targets}, kept)
        return levels_of(features)[0].isfinite().all()

    def _propagated(self, features: Features, batch: dict[str, Any]) -> Features:
        return self.model.carry(features, flow_of_pairs(self.model, batch))

    def _as_before(self, features: Features, batch: dict[str, Any]) -> Features:
        model = self.model
        now = model.flow_network, model.scale_layers
        before = self._before[0].to(batch["key"].device)
        try:
            model.flow_network, model.scale_layers = before  # type: ignore[assignment]
            return self._propagated(features, batch)
        finally:
            model.flow_network, model.scale_layers = now

    def on_validation_epoch_end(self) -> None:
        """Logs and prints the agreement by gap, beside copying and the flow before the training."""
        lines = [f"{'agreement at gap':<24}" + "".join(f"{gap:>8}" for gap in self.val_gaps)]
        for way, counter in self.accuracy.items():
            for head, result in counter.compute().items():  # type: ignore[operator]
                task, by_gap = self.tasks[head], result["by_gap"].float()
                name = f"val/{way}" if len(self.tasks) == 1 else f"val/{way}_{task.measure.name}"
                self.log(name, mean_of(by_gap), prog_bar=way == "agreement")
                for gap, value in zip(self.val_gaps, by_gap, strict=True):
                    self.log(f"{name}_gap_{gap}", value)
                title = f"{_TITLES[way]}, {task.measure.title}"
                lines.append(f"{title:<24}" + "".join(f"{value:>8.3f}" for value in by_gap))
            counter.reset()  # type: ignore[operator]
        if not self.trainer.sanity_checking:
            rank_zero_info("\n".join(lines))


_TITLES: Mapping[str, str] = {"agreement": "now", "copied": "copied", "before": "flow before"}
