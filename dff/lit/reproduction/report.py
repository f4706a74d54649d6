"""One report of the paper's tables on some data: Markdown, CSV, pictures, and a table in W&B."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from dff.data.files.whole_files import whole_file, write_whole
from dff.lit.reproduction import tables
from dff.lit.reproduction.tables import MEASURE, Row
from dff.lit.reproduction.variants import Variant

HOW = """\
For a key duration l, each labelled frame is recognised from the key frames 0, 1, .., l - 1 frames
before it: one accuracy for each of these offsets over the whole held-out split, then their mean
(the paper, Sec. 5), the worst of them beside it. "±" is the standard deviation over the seeds.

`S = 1`, `flow = 0` and `copied` are the same trained model with the scale field at 1, the flow at
0, or neither; where `flow = 0` is as good as the model, it recognises through the scale field and
propagates nothing. EPE is the end-point error of the flow in image pixels. fps is that of the
networks with label maps, one frame at a time; speed-up is over the same networks on each frame,
Eq. 7 what their FLOPs promise, a classical flow counting as free. Copy and clockwork take no
flow."""
ORDERS = "The paper's orders, and copying below all, in points, on the seeds that both have:"
RUNS = """Over whole snippets, ImageNet VID's own protocol: one run over each, its first frame and
every l-th after it key frames, and one mAP over all frames."""

WHOLE = """One run over each whole held-out video, live; the accuracy is that of its labelled
frames. The fixed schedule is the one with as nearly as many key frames as there is. fps and Eq. 7
count that a frame which became a key frame after its flow was found has cost both."""


def write_report(
    output: Path,
    heading: str,
    facts: Sequence[str],
    sections: Mapping[str, Sequence[Variant]],
    rows: Sequence[Row],
    durations: tuple[int, int],
    table_2: str | None,
    problems: Sequence[str],
) -> Path:
    """Writes `report.md`, `rows.csv` and the pictures; returns the report's path.

    Args:
        output: The folder.
        heading: Of the report.
        facts: What was done, a line each.
        sections: "4", "5", "fig3", "flow" -> the variants of that table.
        rows: Of `variant_rows`, of all variants.
        durations: The key duration that the tables are about, and the longest.
        table_2: Where it is wanted.
        problems: What failed.
    """
    measures = [name for name in MEASURE if any(f"{name}_mean" in row for row in rows)]
    shown = sorted(set(durations))
    text = [f"# {heading}", "\n".join(f"- {fact}" for fact in facts)]
    if problems:
        text += ["## What failed", "\n".join(f"- {problem}" for problem in problems)]
    if rows:
        text += [HOW]
    for measure in measures:
        if variants := sections.get("4"):
            text += [f"## Table 4: variants, {MEASURE[measure]}"]
            text += [RUNS] if any(f"{measure}_run" in row for row in rows) else []
            for duration in shown:
                table = tables.accuracy_table(rows, variants, measure, duration)
                text += [f"### Key duration {duration}", table]
                words = tables.order_words(rows, variants, measure, duration)
                if words:
                    text += [ORDERS, "\n".join(words)]
            if whole := tables.schedule_table(rows, measure, shown):
                text += ["### DFF by schedule, over whole videos", WHOLE, whole]
        if variants := sections.get("5"):
            text += [f"## Table 5: split points, {MEASURE[measure]}"]
            text += ["Learnable layers that the task network keeps; DFF has 1."]
            for duration in shown:
                table = tables.accuracy_table(rows, variants, measure, duration)
                text += [f"### Key duration {duration}", table]
        if variants := sections.get("flow"):
            text += [f"## Flow functions, {MEASURE[measure]}"]
            text += [tables.flow_table(rows, variants, measure, shown)]
    if table_2:
        text += ["## Table 2: FLOPs of the feature network over those of the flow network", table_2]
    for name, file, title in (
        ("4", "accuracy_speed.png", "Accuracy against speed"),
        ("fig3", "figure_3.png", "Figure 3: pairs of networks"),
    ):
        if rows and sections.get(name):
            plot_curves(rows, sections[name], measures, output / file)
            text += [f"## {title}", f"One point for each key duration.\n\n![{title}]({file})"]
    output.mkdir(parents=True, exist_ok=True)
    if rows:
        write_csv(output / "rows.csv", rows)
    report = output / "report.md"
    write_whole(report, "\n\n".join(text) + "\n")
    return report


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All columns that any of the rows has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """All rows, with all of their columns."""
    columns = columns_of(rows)
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns)
        writer.writeheader()
        writer.writerows(rows)


def plot_curves(
    rows: Sequence[Row], variants: Sequence[Variant], measures: Sequence[str], file: Path
) -> None:
    """Accuracy, mean over the seeds, against frames per second: a curve for each variant."""
    figure = Figure(figsize=(8 * len(measures), 5), layout="constrained")
    durations = sorted({row["key_duration"] for row in rows})
    for axes, measure in zip(
        figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True
    ):
        for number, variant in enumerate(variants):
            points = [
                (
                    tables.mean_spread(rows, variant.name, duration, "fps")[0],
                    tables.mean_spread(rows, variant.name, duration, f"{measure}_mean")[0],
                )
                for duration in durations
            ]
            points = [(x, 100 * y) for x, y in points if x is not None and y is not None]
            if points:
                style = ("o-", "s--", "^:")[number // 10 % 3]
                axes.plot(*zip(*points, strict=True), style, markersize=4, label=variant.title)
        axes.set_xscale("log")
        axes.set_xlabel("frames per second")
        axes.set_ylabel(f"{MEASURE[measure]} %, mean over the offsets")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    with whole_file(file) as part:
        figure.savefig(part, dpi=130, format="png")


def log_report(logger: WandbLogger, rows: Sequence[Row], output: Path) -> None:
    """Sends all rows as one table, and the pictures, to W&B."""
    columns = columns_of(rows)
    data: list[list[Any]] = [[row.get(name) for name in columns] for row in rows]
    logger.log_table("reproduction", columns=columns, data=data)
    for file in sorted(output.glob("*.png")):
        logger.log_image(f"reproduction/{file.stem}", [str(file)])
    logger.experiment.finish()
