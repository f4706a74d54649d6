"""Looks through labelled data before a training: what is there, and what is wrong with it."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from dff.data.annotations.annotation_set import AnnotationSet, Splits, with_classes_of
from dff.data.annotations.box_table import BoxTable
from dff.data.annotations.findings import Findings
from dff.data.annotations.measures import all_boxes, labelled_frames
from dff.data.files.images import count_values
from dff.data.pair_files import read_pair
from dff.data.samples import IGNORED, SampleError, Snippet

SECONDS = 25.0
"""For opening frames and masks; those that are left are counted, and that is said."""
AT_ONCE = 4
LONGEST_GAP = 9


@dataclass
class SplitReport:
    """What one split holds.

    Attributes:
        videos, frames, labelled: How many there are.
        opened: How many labelled frames were opened.
        sizes: (height, width) -> how many of the opened frames have it.
        gaps: Gap -> how many labelled frames have a key frame at it.
        boxes: Class -> how many boxes there are.
        crowds: How many regions are ignored.
        pixels: Class -> share of the labelled pixels of the opened masks.
        ignored: Share of all their pixels that is not labelled.
    """

    videos: int
    frames: int
    labelled: int
    opened: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    gaps: dict[int, int] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=dict)
    crowds: int = 0
    pixels: dict[str, float] = field(default_factory=dict)
    ignored: float = 0.0


@dataclass
class Inspection:
    """What was found in a folder.

    Attributes:
        found: What it was taken for, and why.
        sets: Split -> its annotations.
        reports: Split -> what it holds.
        findings: What is wrong, and how files were understood.
    """

    found: str
    sets: Mapping[str, AnnotationSet]
    reports: dict[str, SplitReport]
    findings: Findings


def inspect(splits: Splits, seconds: float = SECONDS) -> Inspection:
    """Looks through data.

    Args:
        splits: As `looking.read` gives them.
        seconds: For opening frames and masks of all splits together.
    """
    sets, findings = dict(splits.sets), Findings()
    for found in sets.values():
        findings.take(found.findings)
    if "train" in sets and "val" in sets:
        _compare(sets["train"], sets["val"], findings)
    reports = {}
    for name, found in sets.items():
        reports[name] = _report(found)
        if not reports[name].labelled:
            findings.add(
                "a split has no labelled frame",
                name,
                "label frames for it, or remove it: videos of the other are then held out",
                stops=True,
            )
        share = seconds / len(sets)
        _open(name, found, reports[name], findings, share)
        _tell_classes(name, found, reports[name], findings)
    return Inspection(splits.found, sets, reports, findings)


def _compare(train: AnnotationSet, val: AnnotationSet, findings: Findings) -> None:
    try:
        with_classes_of(val, train)
    except SampleError as error:
        findings.add(
            "the held-out split has classes that the training does not have",
            str(error).partition(",")[0],
            "name classes alike in both, or label them in the training split too",
            stops=True,
        )
    trained = {path for snippet in train.snippets for path in _labelled_paths(snippet)}
    for snippet in val.snippets:
        if both := [path for path in _labelled_paths(snippet) if path in trained]:
            findings.add(
                "frames are in both splits",
                both[0],
                "hold out whole videos: what was trained on proves nothing",
                count=len(both),
            )


def _labelled_paths(snippet: Snippet) -> Iterator[str]:
    return (snippet.frames[number] for number in snippet.labelled)


def _report(found: AnnotationSet) -> SplitReport:
    snippets = found.snippets
    frames = sum(len(snippet.frames) for snippet in snippets)
    report = SplitReport(len(snippets), frames, labelled_frames(snippets))
    for gap in range(1, LONGEST_GAP + 1):
        report.gaps[gap] = sum(n - gap in s.frames for s in snippets for n in s.labelled)
    _, labels = all_boxes(snippets)
    counts = np.bincount(labels, minlength=len(found.box_classes))
    report.boxes = dict(zip(found.box_classes, counts.tolist(), strict=False))
    tables = [s.boxes for s in snippets if isinstance(s.boxes, BoxTable)]
    report.crowds = sum(int((table.labels < -1).sum()) for table in tables)
    return report


def _open(
    name: str, found: AnnotationSet, report: SplitReport, findings: Findings, seconds: float
) -> None:
    """Opens labelled frames with their labels, in a mixed order, until the time is over."""
    entries = [(s, number) for s in found.snippets for number in s.labelled]
    order = np.random.default_rng(0).permutation(len(entries))
    started = time.monotonic()
    pixels = np.zeros(256, np.int64)
    size_of: dict[str, tuple[int, int]] = {}
    waiting = iter([entries[i] for i in order.tolist()])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() - started < seconds:
            batch = list(islice(waiting, 4 * AT_ONCE))
            if not batch:
                break
            opened = pool.map(lambda entry: _opened(found, *entry), batch)
            for (snippet, number), outcome in zip(batch, opened, strict=True):
                report.opened += 1
                if isinstance(outcome, Exception):
                    _add_damage(findings, snippet, number, outcome)
                    continue
                size, values = outcome
                report.sizes[size] += 1
                pixels += values
                first = size_of.setdefault(snippet.name, size)
                if first != size:
                    findings.add(
                        "frames of one video differ in size",
                        f"{snippet.frames[number]} is {size[0]}x{size[1]}, others of "
                        f"{snippet.name} {first[0]}x{first[1]}",
                        "give each size a video, that is a folder or name, of its own",
                        stops=True,
                    )
    if report.opened < len(entries):
        findings.note(f"{report.opened} of {len(entries)} labelled frames of {name} were opened")
    counted = pixels[: len(found.classes)]
    if pixels.sum():
        report.ignored = float(pixels[IGNORED] / pixels.sum())
        shares = counted / max(1, counted.sum())
        report.pixels = dict(zip(found.classes, shares.tolist(), strict=True))


def _opened(
    found: AnnotationSet, snippet: Snippet, number: int
) -> tuple[tuple[int, int], np.ndarray] | Exception:
    """Size of a frame, and how many pixels of its mask have each value."""
    reader = found.read_mask if number in snippet.masks else None
    try:
        arrays = read_pair(snippet, number, 0, reader, False, snippet.boxes is not None)
    except (SampleError, OSError, ValueError) as error:
        return error
    height, width = arrays["current"].shape[:2]
    values = count_values(arrays["mask"]) if "mask" in arrays else np.zeros(256, np.int64)
    return (height, width), values


def _add_damage(findings: Findings, snippet: Snippet, number: int, error: Exception) -> None:
    said = str(error)
    where = snippet.masks.get(number, snippet.frames[number])
    if "of another size" in said:
        what = "labels have another size than their frame"
        cure = "export frames and labels at one size"
    elif "classes" in said or "class" in said or "colour" in said:
        what, cure = "masks hold values of no class", "add the classes to classes.txt"
        what = "masks hold a colour of no class" if "colour" in said else what
    else:
        what, cure = "frames or masks cannot be read", "copy them again from their source"
    findings.add(what, said.partition(" (snippet")[0] or where, cure, stops=True)


def _tell_classes(name: str, found: AnnotationSet, report: SplitReport, findings: Findings) -> None:
    """Classes that are not there, where that is no matter of chance."""
    if name == "val":
        return
    missing = [cls for cls, count in report.boxes.items() if not count]
    if report.boxes and len(missing) == len(report.boxes):
        findings.add("no box is labelled", name, "label objects", stops=True)
    else:
        for label in missing:
            findings.add(
                "classes are listed and have no box",
                label,
                "label some, or take the class off the list",
            )
    shown = [cls for cls, share in report.pixels.items() if share > 0]
    whole = report.opened == report.labelled
    if len(found.classes) > 1 and report.opened and whole and len(shown) < 2:
        findings.add(
            "masks hold one class alone",
            shown[0] if shown else "none",
            "give each pixel the number of its class; for masks of 0 and 255 say --masks binary",
            stops=True,
        )


def earlier_frames(reports: Sequence[SplitReport]) -> float:
    """Share of the labelled frames that have an earlier one within the longest gap."""
    labelled = sum(report.labelled for report in reports)
    return sum(max(report.gaps.values(), default=0) for report in reports) / max(1, labelled)
