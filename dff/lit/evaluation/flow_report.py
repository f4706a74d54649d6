"""The quality of a model's flow before and after joint training, as table and picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from dff.data.files.whole_files import whole_file
from dff.lit.checkpoints import load_flow_network
from dff.lit.evaluation.flow_quality import AREAS, FlowQuality
from dff.lit.module import LitDFF
from dff.models.weights.load import WeightReport

TITLES = {
    "zero": "zero flow",
    "copy": "copied",
    "before": "before",
    "after": "after",
    "after_no_scale": "after, S = 1",
}
"""Name in the report -> what it is called in table and picture."""
_LOOK = {
    "zero": ("tab:gray", ":"),
    "copy": ("tab:gray", ":"),
    "before": ("tab:blue", "--"),
    "after": ("tab:orange", "-"),
    "after_no_scale": ("black", " "),
}


def flow_network_before(module: LitDFF, source: str | Path) -> tuple[nn.Module, WeightReport]:
    """The flow network as it was before joint training.

    Args:
        module: The model after joint training, whose kind of flow network is built anew.
        source: A checkpoint of LitFlow or LitDFF, or a file of weights; see `load_weights`.

    Raises:
        ValueError: The model's flow has no weights, or the file is of another network.
        FileNotFoundError: There is no such file.
    """
    name, own = module.hparams["flow_network"], module.model.flow_network
    if not any(True for _ in own.parameters()):
        raise ValueError(f"flow_network {name} is a classical flow and learns nothing: no --before")
    return load_flow_network(name, source)


@torch.inference_mode()
def measure_flow(
    module: LitDFF,
    batches: Iterable[dict[str, Any]],
    gaps: Sequence[int],
    before: nn.Module | None = None,
    border: int = 8,
) -> dict[str, Any]:
    """Measures a model's flow, and that of another flow network in the same model, over pairs.

    Args:
        module: The model, in eval mode.
        batches: Of pairs, on the module's device, frames in [0, 1].
        gaps: Their gaps, 1 or more each.
        before: The other flow network, on the same device.
        border: See `FlowQuality`.

    Returns:
        `gaps`, `border`; `share`: area -> by gap; `epe` and `cosine`: name (see TITLES) -> area ->
        by gap. None where nothing was counted.
    """
    model = module.model
    after = FlowQuality(gaps, border=border).to(module.device)
    earlier = FlowQuality(gaps, ("no_scale",), border).to(module.device)
    for batch in batches:
        features, own = model.encode(batch["key"]), model.encode(batch["current"])
        frames = batch["current"], batch["key"]
        after.update(batch, features, own, model.flow_network(*frames), model)
        if before is not None:
            earlier.update(batch, features, own, before(*frames), model)
    found = after.compute()
    # in the order of the table's columns
    epe, cosine = {"zero": found["epe_zero"]}, {"copy": found["cosine_copy"]}
    if before is not None:
        found_before = earlier.compute()
        epe["before"], cosine["before"] = found_before["epe"], found_before["cosine_no_scale"]
    epe["after"] = found["epe"]
    cosine |= {"after_no_scale": found["cosine_no_scale"], "after": found["cosine_full"]}
    return {
        "gaps": list(gaps),
        "border": border,
        "share": _plain(found["share"]),
        "epe": {name: _plain(by_area) for name, by_area in epe.items()},
        "cosine": {name: _plain(by_area) for name, by_area in cosine.items()},
    }


def flow_table(report: dict[str, Any]) -> str:
    """The report of `measure_flow` as a Markdown table: a row for each area and gap."""
    titles = ["gap", "where", "pixels"]
    titles += [f"EPE px, {TITLES[name]}" for name in report["epe"]]
    titles += [f"cosine, {TITLES[name]}" for name in report["cosine"]]
    lines = [titles, ["---"] * len(titles)]
    for area in AREAS:
        for position, gap in enumerate(report["gaps"]):
            row = [str(gap), area, _cell(report["share"][area][position], "{:.1%}")]
            for measure, form in (("epe", "{:.2f}"), ("cosine", "{:.3f}")):
                row += [_cell(by[area][position], form) for by in report[measure].values()]
            lines.append(row)
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    lines[1] = ["-" * (width - 1) + ":" for width in widths]
    text = [
        f"| {' | '.join(c.rjust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines
    ]
    if not _knows_flow(report):
        text.append("\nThe data knows no true flow, so there is no end-point error.")
    return "\n".join(text)


def plot_flow(report: dict[str, Any], file: Path) -> None:
    """End-point error and cosine by gap, one column for each area, as a picture file."""
    figure = Figure(figsize=(4 * len(AREAS), 6.4), layout="constrained")
    measures = {"epe": "end-point error, pixels", "cosine": "cosine to the frame's own features"}
    if not _knows_flow(report):
        del measures["epe"]
    grid = figure.subplots(len(measures), len(AREAS), squeeze=False, sharex=True, sharey="row")
    for number, (line, (measure, title)) in enumerate(zip(grid, measures.items(), strict=True)):
        for axes, area in zip(line, AREAS, strict=True):
            for name, by_area in report[measure].items():
                colour, style = _LOOK[name]
                values = [float("nan") if v is None else v for v in by_area[area]]
                # on top of the curve with the scale field, from which it often cannot be told
                marker, order = ("x", 3) if style == " " else ("o", 2)
                axes.plot(
                    report["gaps"],
                    values,
                    linestyle=style,
                    marker=marker,
                    color=colour,
                    label=TITLES[name],
                    zorder=order,
                )
            if number == 0:
                axes.set_title(_area_title(area, report["border"]), fontsize=10)
            axes.grid(alpha=0.3)
        line[0].set_ylabel(title)
        line[0].legend(fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("gap, frames")
        axes.set_xticks(report["gaps"])
    with whole_file(file) as part:
        figure.savefig(part, dpi=130, format="png")


def _area_title(area: str, border: int) -> str:
    return {"border": f"within {border} px of a change of class"}.get(area, area)


def _knows_flow(report: dict[str, Any]) -> bool:
    return any(value is not None for value in report["epe"]["zero"]["all"])


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _plain(by_area: dict[str, Tensor]) -> dict[str, list[float | None]]:
    """JSON knows no NaN."""
    return {
        area: [None if v != v else v for v in values.tolist()] for area, values in by_area.items()
    }
