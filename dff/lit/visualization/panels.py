"""Pictures of what the networks do: for the run's folder, and for W&B where it is the logger."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from torch import Tensor

from dff.data.files.whole_files import whole_file
from dff.inference.recognizer import size_of
from dff.inference.results.drawing import colour_flow
from dff.lit.flow import LitFlow
from dff.lit.metrics.gaps import dense_flow
from dff.models.contracts import Measure
from dff.models.dff import levels_of


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


def log_boxes(
    trainer: L.Trainer, name: str, rows: list[dict[str, Any]], names: Sequence[str]
) -> None:
    """Sends pictures with found and true boxes to W&B in its own format, to be filtered there."""
    labels = dict(enumerate(names))
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            boxes = [
                {
                    kind: {
                        "box_data": [_wandb_box(b, names) for b in row[kind]],
                        "class_labels": labels,
                    }
                    for kind in ("predictions", "ground_truth")
                }
                for row in rows
            ]
            pictures = [row["picture"].numpy() for row in rows]
            logger.log_image(name, pictures, step=trainer.global_step, boxes=boxes)


def _wandb_box(row: list[float], names: Sequence[str]) -> dict[str, Any]:
    x1, y1, x2, y2, score, label = row
    return {
        "position": {"minX": x1, "minY": y1, "maxX": x2, "maxY": y2},
        "domain": "pixel",
        "class_id": int(label),
        "box_caption": f"{names[int(label)]} {score:.2f}",
        "scores": {"score": score},
    }


def plot_accuracy_speed(report: dict[str, Any], measures: Sequence[Measure], file: Path) -> None:
    """Accuracy against speed over the key durations, as the paper's Figure 3."""
    rows = report["rows"]
    figure = Figure(figsize=(5 * len(measures), 3.6), layout="constrained")
    fps = [row["fps"] for row in rows]
    for axes, (name, title, *_) in zip(
        figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True
    ):
        axes.plot(fps, [row[f"{name}_mean"] for row in rows], "o-", label="Deep Feature Flow")
        if f"copy_{name}_mean" in rows[0]:
            copied = [row[f"copy_{name}_mean"] for row in rows]
            axes.plot(fps, copied, "o--", label="copied, no flow")
            axes.legend()
        for row in rows:
            if row[f"{name}_mean"] is not None:
                axes.annotate(
                    f"l = {row['key_duration']}",
                    (row["fps"], row[f"{name}_mean"]),
                    textcoords="offset points",
                    xytext=(4, 5),
                )
        axes.set_xlabel("frames per second")
        axes.set_ylabel(f"{title}, mean over the offsets")
        axes.margins(x=0.15, y=0.12)
        axes.grid(alpha=0.3)
    with whole_file(file) as part:
        figure.savefig(part, dpi=130, format="png")


class Panels(L.Callback):
    """Pictures of the same held-out pairs after each validation.

    One row a pair: key frame, current frame, flow wheel, scale field, prediction, truth. For a flow
    network alone: both frames, its flow with the end-point error, and the true flow.

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
            panels = [_panel(trainer, pl_module, batch) for batch in self._batches]
        _draw([pictures for pictures, _ in panels], file)
        log_picture(trainer, "val/pairs", file)
        for title in panels[0][1]:
            rows = [boxes[title] for _, boxes in panels]
            log_boxes(trainer, f"val/{title}", rows, rows[0]["names"])

    def _choose(self, trainer: L.Trainer) -> list[dict[str, Tensor]]:
        """Pairs spread over the held-out split, at the largest gap that validation finds."""
        data = trainer.datamodule
        pairs = data.evaluation_pairs(data.val_gaps).dataset
        if hasattr(pairs, "entries"):  # the pairs of a flow data set have one gap
            pairs = data.evaluation_pairs([int(pairs.entries[:, 2].max())]).dataset
        step = max(1, len(pairs) // self.pairs)
        chosen = [pairs[i] for i in range(step // 2, len(pairs), step)][: self.pairs]
        return [
            {k: v.unsqueeze(0) for k, v in pair.items() if isinstance(v, Tensor)} for pair in chosen
        ]


def _panel(
    trainer: L.Trainer, module: L.LightningModule, batch: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Pictures of one pair by title, and rows of boxes by title."""
    batch = {k: v.to(module.device) for k, v in batch.items()}
    batch = trainer.datamodule.on_after_batch_transfer(batch, 0)
    key, current = batch["key"], batch["current"]
    size = current.shape[-2:]
    network = module.flow_network if isinstance(module, LitFlow) else module.model.flow_network
    flow = network(current, key)
    truth = []
    if isinstance(module, LitFlow):
        # Unknown flow may be infinite, which would leave no colour to the rest.
        truth = [torch.where(batch["flow_known"].unsqueeze(1), batch["flow"], 0.0)]
    flows = [dense_flow(flow.field, size, truth[0].shape[-2:] if truth else size), *truth]
    wheels = colour_flow(torch.cat(flows)).cpu()  # one scale for both
    row = {
        "key frame": key[0].permute(1, 2, 0).cpu(),
        f"current, gap {int(batch['gap'])}": current[0].permute(1, 2, 0).cpu(),
    }
    if isinstance(module, LitFlow):
        error = torch.hypot(*(flows[0] - flows[1]).unbind(1))[batch["flow_known"]].mean()
        row |= {f"flow, {float(error):.1f} px off": wheels[0], "true flow": wheels[1]}
        return row, {}
    row["flow"] = wheels[0]
    features = module.model(key, current, batch["gap"])
    shown = (current * 255).byte().cpu()
    found = {k: v.cpu() for k, v in module.model.predict(features, size).items()}
    scale = module.model.scale_field(flow, size_of(levels_of(features)[0]))
    if scale is not None:
        row["scale field"] = scale[0].float().mean(0).cpu()
    boxes = {}
    picture, truth = shown[0].permute(1, 2, 0), {k: v.cpu() for k, v in batch.items()}
    for name, task in module.tasks.items():
        panel = task.panel(picture, found[name][0], truth)
        row |= panel.pictures
        for title, rows in panel.boxes.items():
            boxes[title] = {"picture": picture, "names": task.classes, **rows}
    return row, boxes


def _draw(rows: list[dict[str, Any]], file: Path) -> None:
    columns = len(rows[0])
    height, width = rows[0]["key frame"].shape[:2]
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
    with whole_file(file) as part:
        figure.savefig(part, dpi=110, format="png")
