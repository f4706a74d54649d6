"""The poster: what one key frame gives to the frames after it, at a glance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dff.data.files.whole_files import whole_file
from dff.inference.key_frame import find_flows
from dff.inference.recognizer import encode_key_frame, size_of
from dff.inference.results.drawing import colour_flow, overlay
from dff.inference.tasks.segmentation import Segmentation
from dff.lit.metrics.gaps import dense_flow
from dff.lit.module import LitDFF


@torch.inference_mode()
def draw_poster(
    module: LitDFF,
    frames: Sequence[Tensor],
    truths: Sequence[Tensor],
    file: Path,
    report: dict[str, Any],
    gaps: Sequence[int] = (0, 3, 6, 9),
) -> None:
    """Draws frames, flow, the copied result, the propagated result and the truth.

    Args:
        module: A trained model, in eval mode.
        frames: A key frame and the frames after it, (1, 3, H, W) in [0, 1]; one for each gap at
            least.
        truths: Their labels, (H, W) train ids.
        file: Where to write the PNG.
        report: Of the VideoPredictor, for the line above the pictures.
        gaps: The columns.
    """
    model, key_frame = module.model, frames[0]
    size = size_of(key_frame)
    key, result = encode_key_frame(model, key_frame)
    task = module.tasks[Segmentation.name]
    assert isinstance(task, Segmentation)
    copied = result[task.name]
    rows: dict[str, list[Tensor]] = {
        name: [] for name in ("frame", "flow", "result copied", "Deep Feature Flow", "truth")
    }
    flows: list[Tensor] = []
    found = find_flows(model, key, torch.cat(list(frames[1 : max(gaps) + 1])))
    for gap in gaps:
        frame, features = frames[gap], key.features
        if gap == 0:
            flows.append(torch.zeros(1, 2, *size, device=key_frame.device))
        else:
            flow = found.rows(slice(gap - 1, gap))
            features = model.carry(key.features, flow)
            flows.append(dense_flow(flow.field, size))
        labels = model.predict(features, size)[task.name]
        shown = (frame * 255).byte()
        rows["frame"].append(shown[0].permute(1, 2, 0))
        rows["result copied"].append(overlay(shown, copied, task.palette)[0])
        rows["Deep Feature Flow"].append(overlay(shown, labels, task.palette)[0])
        rows["truth"].append(overlay(shown, truths[gap][None], task.palette)[0])
    # one colour wheel for all gaps: the same colour is the same motion
    rows["flow"] += colour_flow(torch.cat(flows))
    _draw(rows, gaps, size, file, _headline(report))


def _headline(report: dict[str, Any]) -> str:
    row = report["rows"][-1]
    return (
        f"One key frame in every {row['key_duration']}: {row['speedup']:.1f} times as fast as the "
        f"network on each frame, mIoU {row['miou_mean']:.3f} against {report['frame_miou']:.3f}"
        + (f", copied {row['copy_miou_mean']:.3f}" if "copy_miou_mean" in row else "")
    )


def _draw(
    rows: dict[str, list[Tensor]],
    gaps: Sequence[int],
    size: tuple[int, int],
    file: Path,
    headline: str,
) -> None:
    width = 3.2
    height = width * size[0] / size[1]
    figure = Figure(
        figsize=(width * len(gaps) + 0.4, (height + 0.05) * len(rows) + 0.75), layout="constrained"
    )
    figure.suptitle(headline, fontsize=12)
    axes = figure.subplots(len(rows), len(gaps), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, gap, picture in zip(line, gaps, pictures, strict=True):
            axis.imshow(picture.cpu())
            axis.set_xticks([])
            axis.set_yticks([])
            if name == "frame":
                axis.set_title("key frame" if gap == 0 else f"{gap} frames later", fontsize=10)
        line[0].set_ylabel(name, fontsize=10)
    with whole_file(file) as part:
        figure.savefig(part, dpi=100, format="png")
