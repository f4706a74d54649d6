"""What `dff check` found, as text and as one HTML page."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dff.data.files.whole_files import write_whole
from dff.inference.own_data.inspection import Inspection, SplitReport
from dff.inference.own_data.pictures import as_png, box_sizes, class_balance, sheet

_MOST_CLASSES = 12


def as_text(inspection: Inspection, chosen: Sequence[str], command: str) -> str:
    """The whole report for a terminal.

    Args:
        inspection: What was found.
        chosen: What a training would choose, one sentence each; empty where none can begin.
        command: That begins it.
    """
    lines = [inspection.found, *inspection.findings.notes, ""]
    for name, report in inspection.reports.items():
        lines += [f"{name}: {line}" for line in _in_words(report)]
    problems = list(inspection.findings)
    lines += ["", _count(len(problems), "problem") if problems else "nothing is wrong with it"]
    for problem in problems:
        lines += [f"- {problem}", f"  {problem.cure}"]
    if chosen:
        lines += ["", "a training", *(f"- {sentence}" for sentence in chosen), "", command]
    else:
        lines += ["", "mend this first; then run dff check again"]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _in_words(report: SplitReport) -> list[str]:
    lines = [
        f"{report.videos} videos and images, {report.frames} frames, {report.labelled} labelled"
    ]
    if any(report.boxes.values()):
        shown = sorted(report.boxes.items(), key=lambda entry: -entry[1])
        told = ", ".join(f"{name} {count}" for name, count in shown[:_MOST_CLASSES])
        more = f", and {len(shown) - _MOST_CLASSES} more classes" * (len(shown) > _MOST_CLASSES)
        crowds = f"; {report.crowds} regions are ignored" if report.crowds else ""
        lines.append(f"{sum(report.boxes.values())} boxes: {told}{more}{crowds}")
    if report.pixels:
        shares = sorted(report.pixels.items(), key=lambda entry: -entry[1])
        told = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares[:_MOST_CLASSES])
        lines.append(f"pixels: {told}; {100 * report.ignored:.3g} % are ignored")
    if report.sizes:
        sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in report.sizes.most_common(4))
        more = f", and {len(report.sizes) - 4} more" if len(report.sizes) > 4 else ""
        lines.append(f"height x width of the frames that were opened: {sizes}{more}")
    gaps = [gap for gap, count in report.gaps.items() if count]
    if gaps:
        told = ", ".join(f"{gap}: {report.gaps[gap]}" for gap in gaps)
        lines.append(f"labelled frames with a key frame at the gap {told}")
    else:
        lines.append("no labelled frame has an earlier frame: flow cannot be learned from them")
    return lines


def write_page(
    folder: Path, inspection: Inspection, chosen: Sequence[str], command: str, title: str
) -> Path:
    """Writes `index.html`, which needs no other file.

    Args:
        folder: Where to.
        inspection: What was found.
        chosen: As in `as_text`.
        command: Likewise.
        title: Of the page.

    Returns:
        The file.
    """
    escape = html.escape
    parts = [f"<p>{escape(inspection.found)}.</p>", _list(inspection.findings.notes)]
    problems = list(inspection.findings)
    if problems:
        rows = "".join(
            f"<tr class='{'stops' if p.stops else 'says'}'><td>{p.count}</td>"
            f"<td>{escape(p.what)}</td><td>{'<br>'.join(map(escape, p.examples))}</td>"
            f"<td>{escape(p.cure)}</td></tr>"
            for p in problems
        )
        parts.append(
            "<h2>What is wrong</h2><table><tr><th>how often</th><th>what</th><th>where</th>"
            f"<th>what to do</th></tr>{rows}</table>"
            "<p>Red lines stop a training.</p>"
        )
    else:
        parts.append("<h2>Nothing is wrong with it</h2>")
    parts.append("<h2>What is there</h2>")
    for name, report in inspection.reports.items():
        parts.append(f"<h3>{escape(name)}</h3>{_list(_in_words(report))}")
    for figure, words in (
        (class_balance(inspection), "classes"),
        (box_sizes(inspection), "sizes of boxes"),
    ):
        if figure is not None:
            parts.append(_image(figure, words))
    parts.append("<h2>Labelled frames as they were understood</h2><div class='sheet'>")
    for words, picture in sheet(inspection):
        caption = f"<figcaption>{escape(words)}</figcaption>"
        parts.append(f"<figure>{_image(picture, words)}{caption}</figure>")
    parts.append("</div>")
    if chosen:
        parts.append(f"<h2>A training</h2>{_list(chosen)}<pre>{escape(command)}</pre>")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.html"
    write_whole(file, _PAGE.format(title=escape(title), body="\n".join(parts)))
    return file


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in sentences) + "</ul>"


def _image(picture: np.ndarray | Figure, words: str) -> str:
    data = base64.b64encode(as_png(picture)).decode()
    return f"<img src='data:image/png;base64,{data}' alt='{html.escape(words, quote=True)}'>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .3rem .8rem; text-align: left;
vertical-align: top; }} tr:nth-child(even) {{ background: #f2f2f2; }}
.stops td:first-child {{ border-left: 5px solid #c44e52; }}
.says td:first-child {{ border-left: 5px solid #dd9955; }}
img {{ max-width: 100%; }} .sheet {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; width: 24rem; }} figcaption {{ font-size: .8rem; overflow-wrap: anywhere; }}
pre {{ background: #f2f2f2; padding: 1rem; overflow-x: auto; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
