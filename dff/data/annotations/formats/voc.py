"""Boxes in Pascal VOC's XML: one file for each image.

    ROOT/Annotations/**/NAME.xml           <annotation><size>, <object><name>, <bndbox>
    ROOT/JPEGImages/**/NAME.jpg            or wherever else below the root
    ROOT/ImageSets/Main/train.txt, val.txt names of a split, one a line, where it is split

Pixels are counted from 1, as in Pascal VOC. An object may have a `<trackid>`.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from dff.data.annotations import grouping
from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.box_table import BoxRows
from dff.data.annotations.findings import Findings
from dff.data.annotations.image_sets import listed_images
from dff.data.files.xml_trees import parse_xml
from dff.data.samples import SampleError, Snippet

FORMAT = "Pascal VOC"
_CURE = "export the labels again as Pascal VOC"


def read_voc(root: str | os.PathLike) -> dict[str, AnnotationSet]:
    """Reads the annotations below a root.

    Args:
        root: Folder with `Annotations`.

    Returns:
        "train" and "val" by the lists of ImageSets; "all" without them.

    Raises:
        SampleError: A file cannot be used.
    """
    root = Path(root)
    findings = Findings()
    images = _images(root)
    found: dict[str, tuple[str, ElementTree.Element]] = {}
    for file in sorted((root / "Annotations").glob("**/*.xml")):
        name = file.relative_to(root / "Annotations").with_suffix("").as_posix()
        tree = parse_xml(file, file.read_bytes(), _CURE)
        if tree.tag != "annotation":
            raise SampleError(f"{file} is no annotation, but a <{tree.tag}>: {_CURE}")
        image = images.get(name) or images.get(Path(name).name)
        if image is None:
            findings.add(
                "annotations have no image",
                str(file),
                "copy the images to JPEGImages, under the names of their annotations",
                stops=True,
            )
            continue
        found[name] = image, tree
    names = {o.findtext("name") or "" for _, tree in found.values() for o in tree.iter("object")}
    classes = tuple(sorted(names - {""}))
    lists = listed_images(root / "ImageSets" / "Main")
    if not lists:
        return {"all": _read(root, found, classes, findings)}
    by_stem = {Path(name).name: name for name in found}
    sets = {}
    for split, wanted in lists.items():
        own = {by_stem[w]: found[by_stem[w]] for w in wanted if w in by_stem}
        sets[split] = _read(root, own, classes, findings)
    return sets


def _images(root: Path) -> dict[str, str]:
    """Name below JPEGImages, and name alone, without suffix -> path."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for file in files:
            if file.lower().endswith(grouping.IMAGES):
                path = Path(folder, file)
                found.setdefault(path.stem, str(path))
                below = path.relative_to(root).with_suffix("").parts
                found.setdefault("/".join(below[1:]), str(path))
    return found


def _read(
    root: Path,
    found: Mapping[str, tuple[str, ElementTree.Element]],
    classes: tuple[str, ...],
    findings: Findings,
) -> AnnotationSet:
    by_path = {image: (name, tree) for name, (image, tree) in found.items()}
    groups = grouping.grouped(by_path, root)
    findings.note(f"Pascal VOC tells no videos; {grouping.in_words(groups)}")
    snippets = []
    for video, frames in groups.items():
        rows = BoxRows(findings)
        for number, image in frames.items():
            name, tree = by_path[image]
            height, width = (_number(name, tree, f"size/{side}") for side in ("height", "width"))
            if height and width:
                rows.size(number, int(height), int(width))
            for element in tree.iter("object"):
                label = element.findtext("name") or ""
                if label not in classes:
                    findings.add("objects have no name", name, "name them", stops=True)
                    continue
                x1, y1, x2, y2 = (
                    _number(name, element, f"bndbox/{side}")
                    for side in ("xmin", "ymin", "xmax", "ymax")
                )
                track = element.findtext("trackid") or ""
                rows.add(
                    number,
                    (x1 - 1, y1 - 1, x2 - 1, y2 - 1),
                    classes.index(label),
                    int(track) if track.isdecimal() else -1,
                    where=f"{label} in {name}.xml",
                )
        labelled = sorted(frames)
        paths = dict(frames) | grouping.beside(frames[labelled[0]], frames)
        snippets.append(Snippet(video, dict(sorted(paths.items())), labelled, boxes=rows.table()))
    return AnnotationSet(FORMAT, snippets, classes, findings=findings)


def _number(name: str, element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SampleError(f"{name}.xml has {text!r} as <{path}>, where a number belongs: {_CURE}")
    return number
