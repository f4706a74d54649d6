"""What schedules give, as a table; for `dff compare-schedules` timelines and a page beside it."""

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dff.data.files.json_values import nan_to_none
from dff.data.files.whole_files import whole_file, write_whole
from dff.inference.schedules.comparison import ScheduleRow, by_frame
from dff.inference.schedules.observation import Observation

COLUMNS = (
    "schedule",
    "key frames",
    "mean l",
    "accuracy",
    "mean of frames",
    "5th percentile",
    "worst 10 frames",
    "threshold",
    "as accurate as fixed with",
    "fps",
    "after flow",
    "Eq. 7",
)


def cells(row: ScheduleRow) -> list[str]:
    """A row of the table, in the order of `COLUMNS`; "-" where nothing is known."""
    values = (row.accuracy, row.mean, row.fifth, row.worst)
    return [
        row.schedule,
        str(row.keys),
        f"{row.key_duration:.2f}",
        *("-" if np.isnan(value) else f"{value:.3f}" for value in values),
        "-" if row.threshold is None else f"{row.threshold:.4f}",
        "-" if row.enough is None else f"{row.enough} key frames",
        "-" if row.fps is None else f"{row.fps:.1f}",
        "-" if row.after_flow is None else str(row.after_flow),
        "-" if row.speedup_eq7 is None else f"{row.speedup_eq7:.2f}",
    ]


def figures(row: ScheduleRow) -> dict[str, Any]:
    """A row as values, for JSON."""
    return {**asdict(row), "mean_key_duration": row.key_duration}


def lines_of(rows: Sequence[ScheduleRow]) -> list[list[str]]:
    """The columns of which anything is known, and the cells of each row."""
    lines = [list(COLUMNS), *map(cells, rows)]
    kept = [i for i in range(len(COLUMNS)) if any(line[i] != "-" for line in lines[1:])]
    return [[line[i] for i in kept] for line in lines]


def table(rows: Sequence[ScheduleRow]) -> str:
    """All rows as text."""
    lines = lines_of(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines
    )


def timeline(seen: Observation, rows: Sequence[ScheduleRow], number: int) -> Figure:
    """The accuracy of each frame, and below it the key frames of each schedule.

    Args:
        seen: Of the video.
        rows: To be drawn, of one key duration.
        number: Of the video in the rows.
    """
    figure = Figure(figsize=(9, 2.6 + 0.32 * len(rows)), layout="constrained")
    above, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 0.5 * len(rows)]}
    )
    for place, row in enumerate(rows):
        keys, colour = list(row.key_frames[number]), f"C{place}"
        above.plot(by_frame(seen, keys), color=colour, linewidth=1.2, label=row.schedule)
        below.scatter(keys, np.full(len(keys), place), marker="|", s=90, color=colour)
    above.set_ylabel("accuracy of the frame")
    above.set_title(f"{seen.name}: one key frame in {rows[0].asked:g} on average", fontsize=10)
    above.legend(fontsize=8, loc="lower left", ncols=len(rows))
    above.grid(alpha=0.3)
    below.set_yticks(range(len(rows)), [row.schedule for row in rows])
    below.set_ylim(len(rows) - 0.5, -0.5)
    below.set_xlabel("frame; a mark is a key frame")
    below.grid(axis="x", alpha=0.3)
    return figure


def write_report(
    folder: Path, title: str, seen: Sequence[Observation], rows: Sequence[ScheduleRow]
) -> None:
    """Writes `schedules.json`, a picture for each video and key duration, and `index.html`.

    Args:
        folder: Where to.
        title: What the model is called.
        seen: Of each video.
        rows: Of all schedules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "model": title,
        "videos": [one.name for one in seen],
        "rows": [figures(row) for row in rows],
    }
    write_whole(folder / "schedules.json", json.dumps(nan_to_none(content), indent=2))
    pictures = []
    for asked in dict.fromkeys(row.asked for row in rows):
        some = [row for row in rows if row.asked == asked]
        for number, one in enumerate(seen):
            drawn, figure = io.BytesIO(), timeline(one, some, number)
            figure.savefig(drawn, dpi=120, format="png")
            with whole_file(folder / f"timeline_{number}_l{asked:g}.png") as part:
                Path(part).write_bytes(drawn.getvalue())
            pictures.append(drawn.getvalue())
    write_whole(folder / "index.html", _page(title, rows, pictures))


def _page(title: str, rows: Sequence[ScheduleRow], pictures: Sequence[bytes]) -> str:
    columns, *lines = lines_of(rows)
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    images = "".join(
        f"<img src='data:image/png;base64,{base64.b64encode(png).decode()}' alt='timeline'>"
        for png in pictures
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Schedules of {html.escape(title)}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .7rem; text-align: right; }}
tr:nth-child(even) {{ background: #f2f2f2; }} img {{ max-width: 100%; margin-top: 1rem; }}
</style></head><body>
<h1>Schedules of {html.escape(title)}</h1>
<p>All schedules of one key duration have as many key frames, or a few less. The oracle knows how
accurate each choice would be: in the mean of frames no schedule can be better. "accuracy" is over
all frames together. Adaptive schedules spend the flow network on their key frames too; the frames
per second, where they were measured, count it.</p>
<table><tr>{head}</tr>{body}</table>
{images}
</body></html>
"""
