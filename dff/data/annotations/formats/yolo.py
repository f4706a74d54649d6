"""YOLO's text files: a line for each object, in shares of the image.

    ROOT/data.yaml                         names: [car, person], train: images/train, val: ...
    ROOT/images/train/drive/000012.jpg
    ROOT/labels/train/drive/000012.txt     class x y width height (of the centre), or
                                           class x y x y x y ... (a polygon)

An empty text file is an image that shows nothing; an image without a text file is not labelled.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dff.data.annotations import grouping
from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.box_table import BoxRows
from dff.data.annotations.drawn_masks import (
    BACKGROUND,
    DrawnMasks,
    DrawnObject,
    Polygons,
    checked_polygon,
)
from dff.data.annotations.findings import Findings
from dff.data.files.images import image_size
from dff.data.samples import SampleError, Snippet, read_text

FORMAT = "YOLO"
_CURE = "export the labels again as YOLO"
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation")}


def read_yolo(path: str | os.PathLike, with_masks: bool = False) -> dict[str, AnnotationSet]:
    """Reads the splits that a `data.yaml` names.

    Args:
        path: The YAML file; what it names is below its folder.
        with_masks: Whether masks are drawn of polygons: class 0 is the background, and an object of
            class k is k + 1.

    Returns:
        "train", and "val" where there is one.

    Raises:
        FileNotFoundError: There is no such file, or no folder that it names.
        SampleError: It names no classes, or a text file cannot be used.
    """
    path = Path(path)
    content = read_settings(path)
    classes = _classes(path, content)
    found = {}
    for split, words in _SPLITS.items():
        named = next((content[word] for word in words if content.get(word)), None)
        if named is not None:
            images = _images(path, content, named if isinstance(named, list) else [named])
            if images or split == "train":
                found[split] = _read_split(path, images, classes, with_masks)
    if "train" not in found:
        raise SampleError(f"{path} names no images to train on: add train: images/train to it")
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a `data.yaml`; {} where it is something else."""
    if not path.is_file():
        raise FileNotFoundError(f"no YOLO file at {path}: check the path")
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise SampleError(f"{path} is no YAML ({str(error).splitlines()[0]}): {_CURE}") from error
    return content if isinstance(content, dict) else {}


def _classes(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):  # number -> name
        try:
            numbers = sorted(int(number) for number in names)
        except (TypeError, ValueError):
            numbers = []
        if numbers != list(range(len(names))):
            raise SampleError(
                f"{path} numbers its classes {list(names)}: wanted 0, 1, 2 ... without holes"
            )
        names = [names.get(n, names.get(str(n))) for n in numbers]
    if not isinstance(names, list) or not names:
        raise SampleError(f"{path} names no classes: add names: [first, second] to it")
    return tuple(str(name) for name in names)


def _images(path: Path, content: Mapping[str, Any], named: Sequence[Any]) -> list[str]:
    """Images of a split: those of folders, or those that text files list."""
    base = path.parent
    if isinstance(content.get("path"), str):
        # of the machine that wrote it, where it is not here
        given = Path(content["path"])
        below = base / given
        base = below if below.is_dir() else base
    found: list[str] = []
    for entry in named:
        place = base / str(entry).replace("\\", "/")
        if not place.exists():  # "../train/images" of exports that count from another folder
            parts = [p for p in str(entry).replace("\\", "/").split("/") if p not in (".", "..")]
            place = base.joinpath(*parts)
        if place.is_file():
            lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
            found += [str(base / line.removeprefix("./")) for line in lines]
        elif place.is_dir():
            for folder, folders, files in os.walk(place):
                folders.sort()
                found += [
                    os.path.join(folder, name)
                    for name in sorted(files)
                    if name.lower().endswith(grouping.IMAGES) and not name.startswith(".")
                ]
        else:
            raise FileNotFoundError(
                f"{path} names {entry}, and there is no {place}: correct the path, or copy the "
                "images there"
            )
    return found


def label_file(image: str) -> Path:
    """The text file of an image: `labels` in the place of the last `images` of its path."""
    parts = list(Path(image).with_suffix(".txt").parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return Path(*parts)


def _read_split(
    path: Path, images: Sequence[str], classes: tuple[str, ...], with_masks: bool
) -> AnnotationSet:
    findings = Findings()
    groups = grouping.grouped(images, path.parent)
    findings.note(f"YOLO tells no videos; {grouping.in_words(groups)}")
    objects: dict[str, list[DrawnObject]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    snippets = []
    for video, frames in groups.items():
        rows, masks, labelled = BoxRows(findings), {}, []
        for number, image in frames.items():
            text = label_file(image)
            if not os.path.isfile(image):
                findings.add(
                    "images are listed and are not there",
                    image,
                    "copy them, or take them off the list",
                    stops=True,
                )
                continue
            if not text.is_file():
                continue
            labelled.append(number)
            try:
                size = image_size(image)
            except SampleError as error:
                findings.add("images cannot be read", str(error), "copy them again", stops=True)
                continue
            rows.size(number, *size)
            token = f"{image} ({text.name})"
            objects[token] = list(_objects(text, classes, size, rows, number, findings))
            sizes[token] = size
            if with_masks:
                masks[number] = token
        there = {n: image for n, image in frames.items() if os.path.isfile(image)}
        if labelled:
            snippets.append(Snippet(video, there, labelled, masks, boxes=rows.table()))
    if not with_masks and any(objects.values()):
        findings.note(
            "there are polygons too: --data.with_masks true learns a segmentation from them"
        )
    unlabelled = sum(len(frames) for frames in groups.values()) - sum(
        len(s.labelled) for s in snippets
    )
    if unlabelled:
        findings.note(f"{unlabelled} images have no text file and are taken as not labelled")
    return AnnotationSet(
        FORMAT,
        snippets,
        classes,
        (BACKGROUND, *classes) if with_masks else (),
        read_mask=DrawnMasks(objects, sizes) if with_masks else None,
        findings=findings,
    )


def _objects(
    text: Path,
    classes: Sequence[str],
    size: tuple[int, int],
    rows: BoxRows,
    frame: int,
    findings: Findings,
) -> Iterable[DrawnObject]:
    """Adds the boxes of a text file, and gives what its polygons draw."""
    height, width = size
    seen = set()
    for position, line in enumerate(read_text(text).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{text}, line {position}"
        try:
            values = [float(word) for word in words]
            label = int(values[0])
            if label != values[0] or len(values) < 5:
                raise ValueError
        except ValueError:
            findings.add(
                "lines are neither class x y width height nor a polygon",
                f"{where}: {line[:60]!r}",
                _CURE,
                stops=True,
            )
            continue
        if not 0 <= label < len(classes):
            findings.add(
                "labels are no class of data.yaml",
                f"class {label} in {where}, of {len(classes)} classes",
                "add the class to names, or correct the number, which counts from 0",
                stops=True,
            )
            continue
        if (label, *values[1:]) in seen:
            findings.add("boxes are there twice and are taken once", where, "remove one of them")
            continue
        seen.add((label, *values[1:]))
        if len(values) >= 7 and len(values) % 2:
            points = checked_polygon(values[1:]) * (width, height)
            outline = Polygons((points,))
            rows.add(frame, outline.box(), label, where=where)
            yield DrawnObject(label + 1, outline)
            continue
        x, y, w, h = values[1:5]  # a sixth number is a score
        if max(x, y, w, h) > 2:
            findings.add(
                "boxes are in pixels, not in shares of the image",
                f"{where}: {line[:60]!r}",
                "divide x and width by the width of the image, y and height by its height",
                stops=True,
            )
            continue
        left, top = (x - w / 2) * width, (y - h / 2) * height
        rows.add(frame, (left, top, left + w * width - 1, top + h * height - 1), label, where=where)
