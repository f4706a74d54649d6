"""Pictures of what the networks do: for the run's folder, and for W&B where it is the logger."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import flow_to_image

from dff.lit.drawing import colour_labels
from dff.lit.flow import LitFlow
from dff.lit.metrics import flow_in_image_pixels


def log_picture(trainer: L.Trainer, name: str, file: Path) -> None:
    """Sends a picture file to W&B; nothing for other loggers and other ranks."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            logger.log_image(name, [str(file)], step=trainer.global_step)


def log_video(trainer: L.Trainer, name: str, file: Path) -> None:
    """Sends an mp4 to W&B; nothing for other loggers and other ranks."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            logger.log_video(name, [str(file)], step=trainer.global_step)


def plot_accuracy_speed(report: dict[str, Any], file: Path) -> None:
    """Accuracy against speed over the key durations, as the paper's Figure 3."""
    rows = report["rows"]
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    fps = [row["fps"] for row in rows]
    axes.plot(fps, [row["miou_mean"] for row in rows], "o-", label="Deep Feature Flow")
    if "copy_miou_mean" in rows[0]:
        axes.plot(fps, [row["copy_miou_mean"] for row in rows], "o--", label="copied, no flow")
        axes.legend()
    for row in rows:
        axes.annotate(
            f"l = {row['key_duration']}",
            (row["fps"], row["miou_mean"]),
            textcoords="offset points",
            xytext=(4, 5),
        )
    axes.set_xlabel("frames per second")
    axes.set_ylabel("mIoU, mean over the offsets")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=130)


class Panels(L.Callback):
    """Pictures of the same held-out pairs after each validation.

    One row a pair: key frame, current frame, flow wheel, scale field, prediction, truth.

    Args:
        pairs: How many pairs; 0 draws none.
    """

    def __init__(self, pairs: int = 4) -> None:
        self.pairs = pairs
        self._batches: list[dict[str, Tensor]] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws to `panels/` in the run's folder and sends to W&B."""
        if not self.pairs or trainer.sanity_checking:
            return
        # Asked in every process: the answer comes from the first one by a broadcast.
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "panels"
        if not trainer.is_global_zero:
            return
        if self._batches is None:
            self._batches = self._choose(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"step_{trainer.global_step:06d}.png"
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            rows = [_panel(trainer, pl_module, batch) for batch in self._batches]
        _draw(rows, file)
        log_picture(trainer, "val/pairs", file)

    def _choose(self, trainer: L.Trainer) -> list[dict[str, Tensor]]:
        """Pairs spread over the held-out split, at the largest gap that validation uses."""
        gap = max(trainer.datamodule.val_gaps)
        pairs = trainer.datamodule.evaluation_pairs([gap]).dataset
        step = max(1, len(pairs) // self.pairs)
        chosen = [pairs[i] for i in range(step // 2, len(pairs), step)][: self.pairs]
        return [
            {k: v.unsqueeze(0) for k, v in pair.items() if isinstance(v, Tensor)} for pair in chosen
        ]


def _panel(
    trainer: L.Trainer, module: L.LightningModule, batch: dict[str, Tensor]
) -> dict[str, Any]:
    batch = {k: v.to(module.device) for k, v in batch.items()}
    batch = trainer.datamodule.on_after_batch_transfer(batch, 0)
    key, current = batch["key"], batch["current"]
    size = current.shape[-2:]
    network = module.flow_network if isinstance(module, LitFlow) else module.model.flow_network
    flow, scale = network(current, key)
    truth = [batch["flow"]] if isinstance(module, LitFlow) else []
    flows = [flow_in_image_pixels(flow, size, truth[0].shape[-2:] if truth else size), *truth]
    wheels = flow_to_image(torch.cat(flows)).permute(0, 2, 3, 1).cpu()  # one scale for both
    row = {
        "key frame": key[0].permute(1, 2, 0).cpu(),
        f"current, gap {int(batch['gap'])}": current[0].permute(1, 2, 0).cpu(),
        "flow": wheels[0],
    }
    if isinstance(module, LitFlow):
        row["true flow"] = wheels[1]
        return row
    features = module.model(key, current, batch["gap"])
    labels = module.model.predict(features, size)["segmentation"][0]
    row["scale field"] = scale[0].float().mean(0).cpu()
    row["prediction"] = colour_labels(labels, module.palette)
    row["truth"] = colour_labels(batch["mask"][0], module.palette)
    return row


def _draw(rows: list[dict[str, Any]], file: Path) -> None:
    columns = len(rows[0])
    height, width = rows[0]["flow"].shape[:2]
    size = (2.6 * columns, len(rows) * (2.6 * height / width + 0.25))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(line, row.items(), strict=True):
            shown = axis.imshow(picture, **({"cmap": "gray"} if title == "scale field" else {}))
            if title == "scale field":
                figure.colorbar(shown, ax=axis, fraction=0.03)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.savefig(file, dpi=110)
