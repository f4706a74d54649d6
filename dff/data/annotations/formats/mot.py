"""Tracked boxes in the layout of the MOT Challenge, one folder for each video.

    ROOT/MOT17-02/seqinfo.ini              [Sequence] imDir=img1, imWidth, imHeight, seqLength
    ROOT/MOT17-02/img1/000001.jpg          frame 1, or img1.mp4
    ROOT/MOT17-02/gt/gt.txt                frame, track, x, y, width, height, counts, class, ...
    ROOT/MOT17-02/gt/labels.txt            names of the classes, one a line, where they are others

Frames, classes and pixels are counted from 1.
"""

import configparser
import os
from collections.abc import Sequence
from pathlib import Path

from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.box_table import BoxRows
from dff.data.annotations.findings import Findings
from dff.data.annotations.frames import MediaFolder, OpenedFrames, is_video, open_frames
from dff.data.samples import SampleError, Snippet, read_text

FORMAT = "MOT"
CLASSES = (
    *("pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non-motorized vehicle"),
    *("static person", "distractor", "occluder", "occluder on the ground", "full occluder"),
    *("reflection", "crowd"),
)
"""Of MOT16, MOT17 and MOT20, from class 1 on."""
DISTRACTORS = (2, 7, 8, 12, 13)
"""Classes of the MOT Challenge that look like pedestrians: where they do not count, finding one is
no mistake. Other classes that do not count are no objects here."""
_CURE = "unpack the sequence again, or export it again as MOT 1.1"


def sequences_in(root: str | os.PathLike) -> list[Path]:
    """Folders below a root that hold gt/gt.txt, in order."""
    return sorted(file.parent.parent for file in Path(root).glob("**/gt/gt.txt"))


def read_mot(folders: Sequence[Path]) -> AnnotationSet:
    """Reads sequences; every frame of one is labelled.

    Entries that do not count (0 in the seventh column) are regions in which nothing is learned and
    nothing found is wrong; of the MOT Challenge's own classes only the `DISTRACTORS`.

    Args:
        folders: Of the sequences.

    Raises:
        FileNotFoundError: A sequence has no frames.
        SampleError: A file cannot be used.
    """
    findings = Findings()
    listed = [_entries(folder / "gt" / "gt.txt", findings) for folder in folders]
    names = _names(folders)
    used = sorted({entry[6] for entries in listed for entry in entries if entry[5]})
    wrong = [number for number in used if not 1 <= number <= len(names)]
    if wrong:
        findings.add(
            "classes are none of those that are named",
            f"class {wrong[0]}, of {len(names)} in gt/labels.txt or the MOT Challenge",
            "name the classes in gt/labels.txt, one a line, from class 1 on",
            stops=True,
        )
    neutral = DISTRACTORS if names is CLASSES else tuple(range(1, len(names) + 1))
    order = {number: i for i, number in enumerate(n for n in used if n not in wrong)}
    snippets = [
        _snippet(folder, entries, order, neutral, findings)
        for folder, entries in zip(folders, listed, strict=True)
    ]
    return AnnotationSet(FORMAT, snippets, tuple(names[n - 1] for n in order), findings=findings)


Entry = tuple[int, int, float, float, tuple[float, float], bool, int]
"""Frame, track, x, y, width and height, whether it counts, class; as in the file."""


def _entries(path: Path, findings: Findings) -> list[Entry]:
    found: list[Entry] = []
    seen = set()
    for position, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.replace(";", ",").split(",")[:8]]
            frame, track = int(values[0]), int(values[1])
            x, y, width, height = values[2:6]
            counts = values[6] != 0 if len(values) > 6 else True
            label = int(values[7]) if len(values) > 7 and values[7] > 0 else 1
        except (ValueError, IndexError, OverflowError):
            raise SampleError(
                f"{path}, line {position}: {line[:60]!r} is not frame, track, x, y, width, height, "
                f"counts, class: {_CURE}"
            ) from None
        if (frame, track) in seen and track >= 0:
            findings.add(
                "boxes are there twice and are taken once",
                f"track {track} in frame {frame} of {path}",
                "remove one of them",
            )
            continue
        seen.add((frame, track))
        found.append((frame, track, x, y, (width, height), counts, label))
    return found


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    for folder in folders:
        labels = folder / "gt" / "labels.txt"
        if labels.is_file():
            lines = [line.strip() for line in read_text(labels).splitlines()]
            return tuple(line for line in lines if line)
    return CLASSES


def _snippet(
    folder: Path,
    entries: Sequence[Entry],
    order: dict[int, int],
    neutral: Sequence[int],
    findings: Findings,
) -> Snippet:
    frames, size = _frames(folder)
    rows = BoxRows(findings)
    numbers = sorted(frames.frames)
    if size is not None:
        for number in numbers:
            rows.size(number, *size)
    for frame, track, x, y, (width, height), counts, label in entries:
        where = f"frame {frame} of {folder.name}"
        if frame - 1 not in frames.frames:
            findings.add(
                "frames are annotated that the video does not have",
                f"{where}, which has {len(numbers)} frames",
                "copy all frames of the sequence; they are counted from 1",
                stops=True,
            )
            continue
        if (label not in order and counts) or (not counts and label not in neutral):
            continue
        corners = (x - 1, y - 1, x + width - 2, y + height - 2)
        rows.add(frame - 1, corners, order.get(label, 0), track, crowd=not counts, where=where)
    return Snippet(folder.name, frames.frames, numbers, boxes=rows.table(), video=frames.video)


def _frames(folder: Path) -> tuple[OpenedFrames, tuple[int, int] | None]:
    """The frames of a sequence by their numbers less 1, and their size where it is told."""
    info = configparser.ConfigParser(interpolation=None)
    try:
        text = read_text(folder / "seqinfo.ini") if (folder / "seqinfo.ini").is_file() else ""
        info.read_string(text)
        section = info["Sequence"] if info.has_section("Sequence") else {}
        width, height = (int(section.get(side, 0)) for side in ("imWidth", "imHeight"))
    except (configparser.Error, ValueError) as error:
        raise SampleError(
            f"{folder / 'seqinfo.ini'} cannot be read ({str(error).splitlines()[0]}): {_CURE}"
        ) from error
    named = section.get("imDir", "img1")
    found = MediaFolder(folder).find(named)
    videos = [path for path in MediaFolder(folder).videos if is_video(path)]
    if found is None and len(videos) == 1:
        found = videos[0]
    if found is None:
        raise FileNotFoundError(f"{folder} has no frames in {named}: {_CURE}")
    opened = open_frames(found)
    size = opened.size or ((height, width) if width and height else None)
    if opened.video is None:
        stems = [Path(file).stem for file in opened.frames.values()]
        if all(stem.isdecimal() for stem in stems):  # some of the frames may not be there
            by_number = zip(stems, opened.frames.values(), strict=True)
            opened = opened._replace(frames={int(stem) - 1: path for stem, path in by_number})
    return opened, size
