"""What `dff speedup` found, as a table, a picture, a side-by-side video and a page."""

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dff.data.files.whole_files import whole_file, write_whole
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import clips_of_frames
from dff.data.video.writer import VideoWriter
from dff.inference.model import Model
from dff.inference.results.drawing import draw_predictions, mark_key_frames
from dff.inference.speedup.measure import ENOUGH, Speedup
from dff.models.schedule import FixedSchedule

GAP = 6
"""Pixels between the two halves of a side-by-side video."""


def table(found: Speedup) -> str:
    """The figures of one video as text."""
    lines = [["l", "fps", "speed-up", "ms key", "ms non-key", f"{found.measure}, mean", "worst"]]
    for row in found.rows:
        lines.append(
            [
                str(row.key_duration),
                f"{row.fps:.2f}",
                f"{row.fps / found.rows[0].fps:.2f}",
                f"{row.ms_key:.0f}",
                "-" if row.ms_current is None else f"{row.ms_current:.0f}",
                _share(row.mean),
                _share(row.worst),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(
        [f"{found.name}: {found.frames} frames of {_size(found)}", *text, *said(found)]
    )


def said(found: Speedup) -> list[str]:
    """What the figures mean, in sentences."""
    pays = found.break_even
    sentences = [
        f"Skipping frames pays from key duration {pays} on."
        if pays
        else "Skipping frames does not pay: propagation costs no less than the model."
    ]
    if any(row.mean is None for row in found.rows):
        sentences.append("The model found nothing on these frames, so agreement is unknown.")
    elif found.enough is None:
        sentences.append(
            f"No key duration keeps {ENOUGH:.0%} agreement with the model's own results here."
        )
    else:
        row = next(r for r in found.rows if r.key_duration == found.enough)
        sentences.append(
            f"The largest key duration that keeps {ENOUGH:.0%} agreement is {found.enough}: "
            f"{row.fps / found.rows[0].fps:.1f} times as fast."
        )
    return sentences


def picture(found: Sequence[Speedup]) -> Figure:
    """Agreement against speed, a line for each video."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for one in found:
        points = [
            (row.fps / one.rows[0].fps, row.mean, row.key_duration)
            for row in one.rows
            if row.mean is not None
        ]
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", label=one.name)
        for x, y, duration in points:
            axes.annotate(
                f"l = {duration}",
                (x, y),
                textcoords="offset points",
                xytext=(5, 5),
                fontsize=8,
            )
    axes.axhline(ENOUGH, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("times as fast as the model on every frame")
    axes.set_ylabel(f"agreement with its own results ({found[0].measure})")
    axes.set_ylim(top=1.02)
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def write_side_by_side(
    model: Model,
    frames: Sequence[np.ndarray],
    key_duration: int,
    file: Path,
    fps: float,
    resizing: EvaluationTransform | None = None,
) -> None:
    """The model on every frame on the left, at a key duration on the right; key frames marked."""
    halves = [_drawn(model, frames, duration, resizing) for duration in (1, key_duration)]
    height, width = frames[0].shape[:2]
    with VideoWriter(file, fps, (height, 2 * width + GAP)) as writer:
        for left, right in zip(*halves, strict=True):
            between = np.full((height, GAP, 3), 255, np.uint8)
            writer.write(np.hstack([left, between, right]))


def _drawn(
    model: Model,
    frames: Sequence[np.ndarray],
    key_duration: int,
    resizing: EvaluationTransform | None,
) -> Iterator[np.ndarray]:
    for result in model.engine(FixedSchedule(key_duration)).run(clips_of_frames(frames, resizing)):
        if result.error is not None:
            raise ValueError(result.error)
        pictures = draw_predictions(result.clip.frames, result.predictions, model.tasks).numpy()
        if key_duration > 1:
            mark_key_frames(pictures, result.key_frames)
        yield pictures[0]


def write_report(
    folder: Path, model: str, found: Sequence[Speedup], videos: Sequence[tuple[str, int]]
) -> None:
    """Writes `speedup.json`, `speedup.png` and `index.html`.

    Args:
        folder: Where to.
        model: What the model is called.
        found: Of each video.
        videos: File in the folder and key duration of each side-by-side video.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = [{**asdict(one), "enough": one.enough, "break_even": one.break_even} for one in found]
    write_whole(folder / "speedup.json", json.dumps({"model": model, "videos": figures}, indent=2))
    drawn, figure = io.BytesIO(), picture(found)
    figure.savefig(drawn, dpi=130, format="png")
    with whole_file(folder / "speedup.png") as part:
        Path(part).write_bytes(drawn.getvalue())
    write_whole(folder / "index.html", page(model, found, videos, drawn.getvalue()))


def page(
    model: str, found: Sequence[Speedup], videos: Sequence[tuple[str, int]], png: bytes
) -> str:
    """The report as a page that needs nothing but the videos beside it."""
    escape = html.escape
    parts = []
    for one, (file, duration) in zip(found, videos, strict=True):
        rows = "".join(
            f"<tr><td>{row.key_duration}</td><td>{row.fps:.2f}</td>"
            f"<td>{row.fps / one.rows[0].fps:.2f}</td><td>{row.ms_key:.0f}</td>"
            f"<td>{'-' if row.ms_current is None else f'{row.ms_current:.0f}'}</td>"
            f"<td>{_share(row.mean)}</td><td>{_share(row.worst)}</td></tr>"
            for row in one.rows
        )
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in said(one))
        parts.append(
            f"<h2>{escape(one.name)}</h2><p>{one.frames} frames of {_size(one)} pixels.</p>"
            f"<ul>{sentences}</ul><table><tr><th>key duration</th><th>frames per second</th>"
            "<th>speed-up</th><th>ms, key frame</th><th>ms, non-key frame</th>"
            f"<th>agreement ({escape(one.measure)}), mean</th><th>worst offset</th></tr>{rows}"
            f"</table><video controls loop muted src='{escape(file, quote=True)}'></video>"
            f"<p>Left: the model on every frame. Right: key duration {duration}; a line below the "
            "picture marks key frames.</p>"
        )
    image = base64.b64encode(png).decode()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(model)} on fewer frames</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .8rem; text-align: right; }}
tr:nth-child(even) {{ background: #f2f2f2; }} img, video {{ max-width: 100%; margin-top: 1rem; }}
</style></head><body>
<h1>{escape(model)} on fewer frames</h1>
<p>The first half of the model runs on key frames only. Its features are carried to the other
frames along the optical flow, and the rest of the model runs on every frame. Nothing was trained.
Agreement compares with the model's own result on the same frame.</p>
<img src="data:image/png;base64,{image}" alt="agreement against speed">
{"".join(parts)}
</body></html>
"""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _size(found: Speedup) -> str:
    return f"{found.size[0]} x {found.size[1]}"
